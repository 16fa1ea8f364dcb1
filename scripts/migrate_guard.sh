#!/usr/bin/env bash
# Carries out one migration step by hand or in a pipeline, with the runner that the operator's Jobs use: the same
# ledger, the same permits, the same refusals.
#
#   DATABASE_URL=postgresql://... scripts/migrate_guard.sh expand|migrate|contract|status|backout RELEASE
#       [-n NAMESPACE] [--context CONTEXT] [--migrations DIR] [--attempt N] [--accept-loss]
#       [--login-idle ROLE] [--login-serving ROLE]
#       [--offline --upgrade ID --from VERSION --to VERSION [--permit PERMIT]]
#
# What is to be done is read from the release: a step is carried out only in the phase in which the operator would do
# it, under the same upgrade and attempt, and contract only once the release has given up its way back. Where no
# operator runs, --offline takes upgrade, versions and permit from you; the ledger alone then judges. Login roles of the
# colours (docs/logins.md) are yours to name: expand opens the idle one, contract fences and proves it; without them the
# sessions of the old version are your word.
#
# The answer is one line of JSON on standard output, the log goes to standard error. MIGRATOR is the runner's command
# (default: python3 -m migrator), such as: docker run --rm -i -e DATABASE_URL -e TERMINATION_LOG=/dev/null IMAGE
#
# Exit code 0: done, now or before. 1: refused; the answer's `mend` says what to do. 2: worth another try.
# 64: wrong use.
set -euo pipefail

RESOURCE=controlplanereleases.maestro-conductor.io

usage() { sed -n '2,22s/^# \{0,1\}//p' "$0"; }
refuse() { printf 'migrate_guard: refused: %s\n' "$*" >&2; exit 1; }
again() { printf 'migrate_guard: %s\n' "$*" >&2; exit 2; }
wrong() { printf 'migrate_guard: %s\n' "$*" >&2; usage >&2; exit 64; }

verb='' release='' namespace='' offline='' upgrade='' from='' from_given='' to='' permit='' attempt='' ledger_line='' kept_id='' loss='' logins=''
kubectl=(kubectl --request-timeout=10s)
more=()
while [ $# -gt 0 ]; do
  case $1 in
    -n|--namespace|--context|--migrations|--upgrade|--from|--to|--permit|--attempt|--login-idle|--login-serving)
      [ $# -ge 2 ] || wrong "$1 needs a value" ;;
  esac
  case $1 in
    -h|--help) usage; exit 0 ;;
    -n|--namespace) namespace=$2; shift ;;
    --context) kubectl+=(--context "$2"); shift ;;
    --migrations) export MIGRATOR_MIGRATIONS=$2; shift ;;
    --upgrade) upgrade=$2; shift ;;
    --from) from=$2; from_given=1; shift ;;
    --to) to=$2; shift ;;
    --permit) permit=$2; shift ;;
    --attempt) attempt=$2; shift ;;
    --login-idle|--login-serving) more+=("$1" "$2"); logins=1; shift ;;
    --accept-loss) more+=(--accept-loss); loss=1 ;;
    --offline) offline=1 ;;
    -*) wrong "unknown option $1" ;;
    *) if [ -z "$verb" ]; then verb=$1; elif [ -z "$release" ]; then release=$1; else wrong "what is $1?"; fi ;;
  esac
  shift
done
case $verb in
  expand|migrate|contract|status|backout) ;;
  '') wrong "say what to do: expand, migrate, contract, status or backout" ;;
  *) wrong "$verb is none of expand, migrate, contract, status and backout" ;;
esac
[ -n "$release" ] || wrong "name the release"
[ -n "${DATABASE_URL:-}" ] || wrong "set DATABASE_URL, as in the Secret that spec.migrations.databaseSecretRef names"
[ -z "$loss" ] || [ "$verb" = backout ] || wrong "--accept-loss belongs to backout"
case $logins$verb in 1expand|1contract) ;; 1*) wrong "--login-idle and --login-serving belong to expand and contract" ;; esac

# Prints, one a line: namespace, phase, version that serves, and id, from, to, attempt and phase of the step that is
# under way, or of the contract step that was left for later; then the newest line of the ledger that is known, and the
# upgrade whose expanded schema stays.
# shellcheck disable=SC2016  # Python's, not the shell's
FACTS='
import json, sys
item = json.load(sys.stdin)
status = item.get("status") or {}
step, pending, kept = status.get("upgrade"), status.get("pendingContract"), status.get("pendingBackout")
phase = status.get("phase", "")
if step is None and kept is not None and kept.get("state") == "Committed":
    step, phase = kept, "BackingOut"
elif step is None and pending is not None:
    step, phase = pending, "Contracting" if pending.get("state") == "Committed" else "contract left for later"
step = step or {}
facts = [item["metadata"]["namespace"], phase, status.get("activeVersion", ""), step.get("id", ""),
         step.get("from", ""), step.get("to", ""), step.get("attempt") or 1,
         (status.get("migrations") or {}).get("ledgerLine") or 0, (kept or {}).get("id") or "-"]
print("\n".join(str(fact).replace("\n", " ") for fact in facts))
'

read_release() {
  local told facts
  command -v kubectl >/dev/null || again "kubectl is not in PATH; install it, or say --offline where no operator runs"
  [ -z "$namespace" ] || kubectl+=(--namespace "$namespace")
  told=$("${kubectl[@]}" get "$RESOURCE" "$release" -o json) ||
    again "release $release cannot be read; check its name, -n and --context, or say --offline where no operator runs"
  facts=$(python3 -c "$FACTS" <<<"$told") || again "the answer of kubectl cannot be read"
  {
    read -r namespace; read -r phase; read -r active_version; read -r id
    read -r own_from; read -r own_to; read -r own_attempt; read -r ledger_line
    read -r kept_id
  } <<<"$facts"
  kept_id=${kept_id#-}
}

# A step out of its phase would work against the operator: it may be sending users to what the step takes away.
check_phase() {
  local right
  case $verb in
    expand) right='Expanding' ;;
    migrate) right='Migrating Verifying' ;;
    contract) right='Contracting' ;;
    backout) right='BackingOut' ;;
    status) return 0 ;;
  esac
  case " $right " in *" $phase "*) return 0 ;; esac
  case $verb in
    contract) refuse "contract of $namespace/$release: it is in phase $phase and has not given up its way back;" \
      "approve it: kubectl -n $namespace annotate --overwrite $RESOURCE $release maestro-conductor.io/approve=${id:-ID}/contract" ;;
    backout) [ -z "$kept_id" ] || refuse "backout of $namespace/$release: what $kept_id added stays, and nobody has" \
      "approved that it is taken back: kubectl -n $namespace annotate --overwrite $RESOURCE $release" \
      "maestro-conductor.io/approve=$kept_id/backout"
      refuse "backout of $namespace/$release: it is in phase $phase, users may be on the version that needs the" \
      "new shape; give the upgrade up: kubectl -n $namespace annotate --overwrite $RESOURCE $release" \
      "maestro-conductor.io/abort=${id:-ID}" ;;
    *) refuse "$verb of $namespace/$release belongs to phase ${right% *}, it is in $phase; wait for it, or where no" \
      "operator runs say --offline" ;;
  esac
}

phase='' active_version='' id='' own_from='' own_to='' own_attempt=''
if [ -n "$offline" ]; then
  [ -n "$namespace" ] || wrong "--offline: name the namespace, the ledger knows the release by both"
  if [ -z "$upgrade" ] || [ -z "$to" ] || [ -z "$from_given" ]; then
    wrong "--offline: give --upgrade, --from and --to"
  fi
else
  [ -z "$upgrade$from_given$to$permit" ] ||
    wrong "--upgrade, --from, --to and --permit are read from the release; say --offline to give them"
  read_release
  if [ -z "$id$kept_id" ] && [ "$verb" != status ]; then
    refuse "no upgrade of $namespace/$release is under way (phase ${phase:-unknown}, ${active_version:-nothing} serves);" \
      "begin one with spec.version, or where no operator runs say --offline"
  fi
  check_phase
  # At rest everything up to the version that serves is shown.
  upgrade=${id:-status} from=$own_from to=${own_to:-$active_version}
  [ -n "$to" ] || refuse "no version of $namespace/$release serves yet, and none is under way; there is nothing to show"
  [ "$verb" != contract ] || permit=$id/contract
  attempt=${attempt:-$own_attempt}
fi

arguments=("${verb/#status/inspect}" --release "$release" --namespace "$namespace" --upgrade "$upgrade"
           --attempt "${attempt:-1}" --from "$from" --to "$to" "${more[@]}")
[ -z "$permit" ] || arguments+=(--permit "$permit")
[ "${ledger_line:-0}" = 0 ] || arguments+=(--ledger-line "$ledger_line")
read -r -a runner <<<"${MIGRATOR:-python3 -m migrator}"
export TERMINATION_LOG=${TERMINATION_LOG:-/dev/null}

# The last line of the runner's log is its answer; what comes before is shown as it comes.
set +e
"${runner[@]}" "${arguments[@]}" | {
  last=''
  while IFS= read -r line; do
    [ -z "$last" ] || printf '%s\n' "$last" >&2
    last=$line
  done
  [ -z "$last" ] || printf '%s\n' "$last"
}
code=${PIPESTATUS[0]}
set -e
case $code in
  0|1|2) exit "$code" ;;
  *) again "the runner ended with exit code $code; is it installed? MIGRATOR names its command (${runner[*]})" ;;
esac
