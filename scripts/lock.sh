#!/usr/bin/env bash
# Pins what the program and its development need, with hashes and without addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
pin() {
  CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/python -m piptools compile -q --generate-hashes \
    --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
    --no-emit-options --build-deps-for editable "${@:2}" -o "requirements/$1.txt" pyproject.toml
}
pin run --extra redis --extra functions
pin dev --extra redis --extra functions --extra dev -c requirements/run.txt
