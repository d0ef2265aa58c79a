#!/usr/bin/env bash
# Puts what tests start for real (Redis, PgBouncer, Postgres 15, a browser, bubblewrap) below
# .tools, without root and without touching the machine: Debian's packages, unpacked rather than
# installed; and PostgREST, which answers are compared with, and the clients that must get along.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/postgrest.sh
scripts/client-needs.sh
scripts/s3-servers.sh
tools=$PWD/.tools
packages=(redis-server pgbouncer postgresql-15 chromium-headless-shell fonts-dejavu-core bubblewrap)
stamp=$tools/.unpacked
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "${packages[*]}" ] && exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
  for program in redis-server pgbouncer chromium-headless-shell bwrap; do
    command -v "$program" >/dev/null || { echo "error: install $program to run the tests" >&2; exit 1; }
  done
  exit 0
fi
rm -rf "$tools"/{root,state,cache} # the others of .tools are not ours
mkdir -p "$tools"/{root,state/lists/partial,cache/archives/partial}
# A state of our own: an ordinary user may not write apt's, and no package counts as there that is
# only on this machine.
options=(-qq -o "Dir::State=$tools/state" -o "Dir::State::status=/var/lib/dpkg/status"
  -o "Dir::Cache=$tools/cache" -o Debug::NoLocking=true -o APT::Sandbox::User=root
  -o APT::Install-Recommends=false)
echo "Fetching ${packages[*]} for the tests" >&2
apt-get "${options[@]}" update
apt-get "${options[@]}" -y --download-only --reinstall install "${packages[@]}" >/dev/null
for archive in "$tools"/cache/archives/*.deb; do
  dpkg -x "$archive" "$tools/root"
done
rm -rf "$tools/cache" "$tools/state"
chmod -R go+rX "$tools"
echo "${packages[*]}" >"$stamp"
