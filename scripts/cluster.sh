#!/usr/bin/env bash
# The test cluster's commands (up, down, status, images, ...) inside the project's environment.
# `cluster.sh exec COMMAND...` runs a command with the cluster's KUBECONFIG and PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

export PYTHONPATH="tests/e2e${PYTHONPATH:+:$PYTHONPATH}"
if [ "${1:-}" != exec ]; then
  exec .venv/bin/python -m cluster "$@"
fi
shift
exports=$(.venv/bin/python -m cluster env)
eval "$exports"
PATH="$PWD/.venv/bin:$PATH" exec "$@"
