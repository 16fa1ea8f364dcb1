#!/usr/bin/env bash
# Type checks every Python file of the project, strictly.
set -euo pipefail
cd "$(dirname "$0")/.."

roots=()
for root in operator/conductor migrator controlplane demo scripts tests bench; do
  [ -n "$(find "$root" -name '*.py' -print -quit 2>/dev/null)" ] && roots+=("$root")
done
exec .venv/bin/mypy --strict "${roots[@]}"
