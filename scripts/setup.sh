#!/usr/bin/env bash
# Makes .venv with what a set of hash-pinned requirements names; does nothing when it is up to date.
# Usage: scripts/setup.sh run|dev
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=$1
list="requirements/$set_name.txt"
stamp=".venv/.installed-$set_name"
want=$(cat "$list" pyproject.toml | sha256sum | cut -d' ' -f1)-$PWD
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: Python 3.11 or newer is needed (set PYTHON=/path/to/python3)" >&2
  exit 1
fi
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  echo "Making a virtual environment in .venv" >&2
  rm -rf .venv
  if ! "$python" -m venv .venv 2>/dev/null; then
    # Debian ships venv without the part that installs pip.
    rm -rf .venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
      "$python" -m venv .venv
    else
      echo "error: 'python3 -m venv' does not work here; on Debian: apt-get install python3-venv" >&2
      exit 1
    fi
  fi
fi
echo "Installing what Fluxbase needs ($set_name)" >&2
.venv/bin/python -m pip install -q --disable-pip-version-check --no-input --require-hashes -r "$list"
.venv/bin/python -m pip install -q --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
echo "$want" >"$stamp"
# The development set holds everything that running needs.
if [ "$set_name" = dev ]; then
  echo "$(cat requirements/run.txt pyproject.toml | sha256sum | cut -d' ' -f1)-$PWD" >.venv/.installed-run
fi
