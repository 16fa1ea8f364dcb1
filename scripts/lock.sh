#!/usr/bin/env bash
# Writes the lock files anew from pyproject.toml: hashes, no index hosts, every platform.
# Called by `make lock`; pass --upgrade to take newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."

export UV_CUSTOM_COMPILE_COMMAND="make lock"
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS=1
compile=(.venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url
         --no-annotate --python-version 3.11 "$@")

"${compile[@]}" pyproject.toml -o requirements.lock
"${compile[@]}" pyproject.toml -c requirements.lock --group dev -o requirements-dev.lock
"${compile[@]}" --group pyproject.toml:bootstrap -o requirements-uv.lock
"${compile[@]}" migrator/pyproject.toml -c requirements-dev.lock -o migrator/requirements.lock
