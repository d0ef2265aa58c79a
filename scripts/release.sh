#!/usr/bin/env bash
# Builds a release; refuses when the changelog's newest entry is not the version of the code.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(.venv/bin/python -c 'import fluxbase; print(fluxbase.__version__)')
top=$(grep -m1 -oP '^## \[?\K[0-9]+\.[0-9]+\.[0-9]+' CHANGELOG.md || true)
if [ "$version" != "$top" ]; then
  echo "error: the code is $version, the newest entry of CHANGELOG.md is ${top:-none}" >&2
  exit 1
fi
.venv/bin/python -m hatchling build
