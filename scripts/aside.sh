#!/bin/bash
# aside.sh COMMAND...: run it with what everything else leaves of the processors.
#
# The kernel shares them out among sessions before it looks at nice, which counts within one session only. For a
# session of its own, as each stage of `make test` has; in a terminal it would slow the whole terminal.
set -euo pipefail
if [[ -w /proc/self/autogroup ]]; then
  echo 19 > /proc/self/autogroup
fi
exec nice -n 19 "$@"
