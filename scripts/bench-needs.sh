#!/usr/bin/env bash
# Fetches what `make bench` measures with and against: wrk and servers from npm below .tools,
# FastMCP in .venv-bench. Needs no root and does nothing when all is there. `--lock` pins
# requirements/bench.txt and requirements/bench-node.txt anew.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --lock ]; then
  lock() {
    env CUSTOM_COMPILE_COMMAND="scripts/bench-needs.sh --lock" .venv/bin/python -m piptools \
      compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
      --no-emit-trusted-host --no-emit-find-links --no-emit-options "${@:2}" \
      -o "requirements/$1.txt" "requirements/$1.in"
  }
  lock bench -c requirements/run.txt
  lock bench-node
  exit 0
fi
scripts/test-needs.sh # pgbench comes with the tests' Postgres 15; PostgREST and rclone with the tests
scripts/node.sh

# The one place where the versions of npm's packages stand.
packages=(@toolbox-sdk/server@1.12.0 @modelcontextprotocol/server-postgres@0.6.2)

tools=$PWD/.tools/bench
if [ ! -e "$tools/.unpacked" ] && { [ -n "${UNPACK_WRK:-}" ] || ! command -v wrk >/dev/null; }; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "error: install wrk to run the benchmark" >&2
    exit 1
  fi
  rm -rf "$tools"/{root,state,cache}
  mkdir -p "$tools"/{root,state/lists/partial,cache/archives/partial}
  # A state of our own, as in scripts/test-needs.sh.
  options=(-qq -o "Dir::State=$tools/state" -o "Dir::State::status=/var/lib/dpkg/status"
    -o "Dir::Cache=$tools/cache" -o Debug::NoLocking=true -o APT::Sandbox::User=root
    -o APT::Install-Recommends=false)
  echo "Fetching wrk for the benchmark" >&2
  apt-get "${options[@]}" update
  apt-get "${options[@]}" -y --download-only --reinstall install wrk >/dev/null
  for archive in "$tools"/cache/archives/*.deb; do
    dpkg -x "$archive" "$tools/root"
  done
  rm -rf "$tools/cache" "$tools/state"
  touch "$tools/.unpacked"
fi

stamp=$tools/npm/.installed
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "${packages[*]}" ]; then
  echo "Installing ${packages[*]}" >&2
  rm -rf "$tools/npm"
  mkdir -p "$tools/npm"
  PATH=$PWD/.tools/node/bin:$PATH npm install --prefix "$tools/npm" --loglevel=error --no-audit \
    --no-fund --no-package-lock --ignore-scripts "${packages[@]}" >/dev/null
  echo "${packages[*]}" >"$stamp"
fi

scripts/peers.sh
