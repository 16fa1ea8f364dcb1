#!/usr/bin/env bash
# Vets and tests the Go parts: the load generator.
set -euo pipefail
cd "$(dirname "$0")/../bench/load"

if ! command -v go >/dev/null; then
  echo "Go is not installed; nothing vetted"
  exit 0
fi
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
  echo "gofmt would change: $unformatted" >&2
  exit 1
fi
go vet ./...
go test ./...
