#!/usr/bin/env bash
# Puts other people's Python servers and clients (FastMCP) into .venv-bench, so that what they need
# stays apart from ours. Does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv-bench/.installed
want=$(sha256sum <requirements/bench.txt | cut -d' ' -f1)-$PWD
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
echo "Installing other servers and clients into .venv-bench" >&2
rm -rf .venv-bench
"${PYTHON:-.venv/bin/python}" -m venv .venv-bench
# The list is whole; older versions of pip take an extra of a pinned package for an unpinned one.
.venv-bench/bin/python -m pip install -q --disable-pip-version-check --no-input --no-deps \
  --require-hashes -r requirements/bench.txt
echo "$want" >"$stamp"
