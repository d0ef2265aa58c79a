#!/usr/bin/env bash
# Puts the official conformance suites, the Inspector, the official TypeScript client, axe and
# tus-js-client below .tools/clients, and FastMCP into .venv-bench. Needs no root and does nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/node.sh
scripts/peers.sh

# The one place where their versions stand: folder and package.
wanted=(
  "conformance-0.1 @modelcontextprotocol/conformance@0.1.16"
  "conformance-0.2 @modelcontextprotocol/conformance@0.2.0-alpha.12"
  "inspector @modelcontextprotocol/inspector@2.12.0"
  "typescript @modelcontextprotocol/client@2.4.0"
  "axe axe-core@4.14.1"
  "tus tus-js-client@4.3.1"
)
tools=$PWD/.tools/clients
for line in "${wanted[@]}"; do
  place=$tools/${line%% *}
  package=${line#* }
  [ -f "$place/.installed" ] && [ "$(cat "$place/.installed")" = "$package" ] && continue
  echo "Installing $package for the tests" >&2
  rm -rf "$place"
  mkdir -p "$place"
  PATH=$PWD/.tools/node/bin:$PATH npm install --prefix "$place" --loglevel=error --no-audit \
    --no-fund --no-package-lock --ignore-scripts --omit=dev "$package" >/dev/null
  echo "$package" >"$place/.installed"
done
