#!/usr/bin/env bash
# Makes .venv with everything development needs, exactly as locked. Does nothing
# when the locks have not changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
stamp=.venv/.locks.sha256
want=$(cat requirements-uv.lock requirements-dev.lock scripts/venv.sh | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && .venv/bin/python -c '' 2>/dev/null; then
  exit 0
fi

install_debian_python() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "venv: Python 3.11 or newer with its venv module is needed; install python3-venv" \
         "(or name another interpreter with PYTHON=...)" >&2
    exit 1
  fi
  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    python3 python3-venv ca-certificates >/dev/null
}

"$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || install_debian_python
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS=1

# A half-made environment is worth nothing: begin again rather than mend it.
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements-uv.lock
export VIRTUAL_ENV="$PWD/.venv"
.venv/bin/uv pip sync --quiet --require-hashes --link-mode copy requirements-uv.lock requirements-dev.lock
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
printf '%s\n' "$want" > "$stamp"
echo "venv: .venv is ready ($(.venv/bin/python --version))"
