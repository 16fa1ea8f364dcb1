#!/usr/bin/env bash
# Vets and tests the Go parts: the load generator and the drain hook.
set -euo pipefail
cd "$(dirname "$0")/../bench/load"

if ! command -v go >/dev/null; then
  echo "Go is not installed; nothing vetted"
  exit 0
fi
# A distribution's Go may be older than the sources ask for; the local cluster fetches the one that they need.
for programs in "$(go env GOMODCACHE)"/golang.org/toolchain@*/bin; do
  if [ -x "$programs/go" ]; then PATH="$programs:$PATH"; fi
done
wanted=$(sed -n 's/^go //p' go.mod)
have=$(go env GOVERSION | tr -cd '0-9.')
if [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -1)" != "$wanted" ]; then
  echo "Go $have is older than $wanted, which the sources ask for; nothing vetted"
  exit 0
fi
for module in . ../../drain; do
  cd "$module"
  unformatted=$(gofmt -l .)
  if [ -n "$unformatted" ]; then
    echo "gofmt would change: $unformatted" >&2
    exit 1
  fi
  go vet ./...
  go test ./...
done
