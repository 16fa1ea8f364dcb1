#!/usr/bin/env bash
# Installs the Debian packages that the tests use and that are missing.
# What the local cluster needs beyond that, the cluster installs itself.
set -euo pipefail

missing=()
command -v shellcheck >/dev/null || missing+=(shellcheck)
command -v git >/dev/null || missing+=(git)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
if [ "${#missing[@]}" = 0 ]; then
  echo "packages: nothing is missing"
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "packages: please install ${missing[*]}; this needs root on Debian, or the like of it elsewhere" >&2
  exit 1
fi
echo "packages: installing ${missing[*]}"
apt-get -qq update
# A server that starts by itself would only be in the way: the tests start their own.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
