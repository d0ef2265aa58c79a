#!/usr/bin/env bash
# Puts the S3 servers that tests start (moto, rclone, LocalStack) into .venv-s3. Does nothing when
# they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv-s3/.installed
want=$(sha256sum <requirements/s3.txt | cut -d' ' -f1)-$PWD
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
echo "Installing S3 servers into .venv-s3" >&2
rm -rf .venv-s3
"${PYTHON:-.venv/bin/python}" -m venv .venv-s3
.venv-s3/bin/python -m pip install -q --disable-pip-version-check --no-input --no-deps \
  --require-hashes -r requirements/s3.txt
echo "$want" >"$stamp"
