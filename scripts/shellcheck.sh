#!/usr/bin/env bash
# Lints every shell script of the project.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v shellcheck >/dev/null; then
  echo "shellcheck is not installed (Debian: shellcheck); nothing checked"
  exit 0
fi
mapfile -t scripts < <(git ls-files -co --exclude-standard | while read -r file; do
  if [ -f "$file" ] && head -c 64 "$file" | head -1 | tr -d '\0' | grep -qE '^#!.*\b(ba|da)?sh\b'; then
    echo "$file"
  fi
done)
shellcheck --severity=style --shell=bash "${scripts[@]}"
echo "shellcheck: ${#scripts[@]} scripts are clean"
