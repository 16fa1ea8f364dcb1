#!/usr/bin/env bash
# Takes the traffic of a release back to its former version with kubectl alone, for when the
# operator is away. The operator accepts the result when it returns and does the rest.
#
#   scripts/rollback.sh RELEASE [-n NAMESPACE] [--context CONTEXT] [--dry-run] [--keep-losing]
#
# What it does, in this order: annotates the release, so that a returning operator knows; sees to
# it that the standby can carry the load; points every Service of the release back, and gives every
# route that the release moves to the former colour; proves by EndpointSlices and by what Gateways
# say that they took; keeps the traffic ConfigMap true; lets the standby's autoscaler grow it again;
# lets the losing pods drain, so that connections which clients hold move as well (not with --keep-losing).
#
# Exit code 0: the former version serves. 1: something failed, and the output says where traffic is.
# 2: wrong use. 3: refused, because there is nothing to go back to.
set -euo pipefail

GROUP=maestro-conductor.io
STANDBY_PATIENCE=60   # seconds for a full standby; after that half of it will do
PROOF_PATIENCE=30     # seconds for EndpointSlices to follow a selector

usage() { sed -n '2,15s/^# \{0,1\}//p' "$0"; }
say() { printf '%s\n' "$*"; }
fail() { printf 'rollback: %s\n' "$*" >&2; exit 1; }
refuse() { printf 'rollback: refused: %s\n' "$*" >&2; exit 3; }
wrong() { printf 'rollback: %s\n' "$*" >&2; usage >&2; exit 2; }

release='' dry_run='' keep_losing='' kubectl=(kubectl --request-timeout=10s)
namespace=''
while [ $# -gt 0 ]; do
  case $1 in
    -h|--help) usage; exit 0 ;;
    -n|--namespace) [ $# -ge 2 ] || wrong "$1 needs a value"; namespace=$2; shift ;;
    --context) [ $# -ge 2 ] || wrong "$1 needs a value"; kubectl+=(--context "$2"); shift ;;
    --dry-run) dry_run=1 ;;
    --keep-losing) keep_losing=1 ;;
    -*) wrong "unknown option $1" ;;
    *) [ -z "$release" ] || wrong "one release only, not also $1"; release=$1 ;;
  esac
  shift
done
[ -n "$release" ] || wrong "name the release"
command -v kubectl >/dev/null || fail "kubectl is not in PATH; install it, or add its folder to PATH"
[ -z "$namespace" ] || kubectl+=(--namespace "$namespace")

started=$SECONDS
resource=controlplanereleases.$GROUP

# Reads what the operator left about this upgrade into variables.
read_release() {
  local template
  # shellcheck disable=SC2016  # the $ are the template's
  template='{{define "v"}}{{if .}}{{.}}{{end}}{{"\n"}}{{end}}'
  template+='{{template "v" .metadata.namespace}}'
  template+='{{with .metadata.annotations}}yes{{"\n"}}{{template "v" (index . "'$GROUP'/rolled-back-by")}}'
  template+='{{else}}{{"\n\n"}}{{end}}'
  template+='{{template "v" .spec.traffic.configMap}}'
  template+='{{with .status}}{{template "v" .phase}}{{template "v" .activeVersion}}'
  template+='{{with .upgrade}}{{template "v" .id}}{{template "v" .from}}{{template "v" .to}}'
  template+='{{template "v" .fromRevision}}{{template "v" .toRevision}}{{template "v" .fromColour}}{{end}}'
  template+='{{with .traffic}}{{range .routes}}{{.}} {{end}}{{end}}{{"\n"}}{{end}}'
  local fields
  fields=$("${kubectl[@]}" get "$resource" "$release" -o go-template="$template") ||
    fail "release $release cannot be read; check its name, -n and --context"
  own_namespace='' annotated='' rolled_back_by='' config_map='' phase='' active_version=''
  id='' from='' to='' from_revision='' to_revision='' from_colour='' in_hand=''
  {
    read -r own_namespace; read -r annotated; read -r rolled_back_by; read -r config_map
    read -r phase; read -r active_version; read -r id; read -r from; read -r to
    read -r from_revision; read -r to_revision; read -r from_colour; read -r in_hand
  } <<<"$fields" || true
}

refuse_what_cannot_be() {
  if [ -z "$id" ]; then
    refuse "no upgrade of $own_namespace/$release is under way (phase ${phase:-unknown}; ${active_version:-nothing}" \
      "serves); to serve a kept revision again, set spec.rollbackTo to its hash and start the operator"
  fi
  if [ "$phase" = Contracting ]; then
    refuse "ContractCommitted: $to has begun to contract the schema, $from could not serve on it; go forward:" \
      "start the operator and let it finish, or upgrade to a version that mends the fault"
  fi
  if [ -z "$from_revision" ]; then
    refuse "$own_namespace/$release is being installed for the first time; there is no former version"
  fi
  case $phase in
    Preflight|Expanding|BringingUp|Migrating|Verifying)
      refuse "users have not met $to yet ($phase), $from serves; to give the upgrade up:" \
        "kubectl -n $own_namespace annotate --overwrite $resource $release $GROUP/abort=$id" ;;
  esac
}

# The fence: written only while this very upgrade is in the phase that was read. An operator that
# still runs can then not begin the contract step unseen, and does the same rollback itself.
write_intent() {
  [ "$rolled_back_by" != "script/$id" ] || return 0
  local attempt patch add
  for attempt in 1 2 3 4 5; do
    refuse_what_cannot_be
    add='"/metadata/annotations/'$GROUP'~1rolled-back-by","value":"script/'$id'"'
    [ -n "$annotated" ] || add='"/metadata/annotations","value":{"'$GROUP'/rolled-back-by":"script/'$id'"}'
    patch='[{"op":"test","path":"/status/upgrade/id","value":"'$id'"},'
    patch+='{"op":"test","path":"/status/phase","value":"'$phase'"},{"op":"add","path":'$add'}]'
    if "${kubectl[@]}" patch "$resource" "$release" --type=json -p "$patch" >/dev/null 2>"$errors"; then
      return 0
    fi
    grep -q 'testing path' "$errors" || break
    say "the release changed meanwhile; reading it again ($attempt)"
    read_release
  done
  fail "the release could not be annotated: $(cat "$errors"); traffic is where it was"
}

# One line for each Service that selects this release: name, component, revision, resourceVersion.
services() {
  local template
  # shellcheck disable=SC2016
  template='{{range .items}}{{$labels := .metadata.labels}}{{$m := .metadata}}{{with .spec.selector}}'
  template+='{{if eq (printf "%v" (index . "'$GROUP'/release")) "'$release'"}}'
  # shellcheck disable=SC2016
  template+='{{$role := ""}}{{if $labels}}{{$role = printf "%v" (index $labels "'$GROUP'/role")}}{{end}}'
  # shellcheck disable=SC2016
  template+='{{if and (ne $role "preview") (ne $role "colour")}}{{$m.name}} {{index . "'$GROUP'/component"}} '
  # shellcheck disable=SC2016
  template+='{{with index . "'$GROUP'/revision"}}{{.}}{{else}}all{{end}} {{$m.resourceVersion}}{{"\n"}}{{end}}'
  template+='{{end}}{{end}}{{end}}'
  "${kubectl[@]}" get services -o go-template="$template"
}

# Name and replicas of the Deployment of one component in one revision; nothing when there is none.
deployment() {
  "${kubectl[@]}" get deployments -l "$GROUP/release=$release,$GROUP/component=$1,$GROUP/revision=$2" \
    -o go-template='{{range .items}}{{.metadata.name}} {{.spec.replicas}}{{"\n"}}{{end}}'
}

# Pods of what was adopted carry none of our labels: a selector written here would lead to nothing.
refuse_what_was_adopted() {
  local adopted
  adopted=$("${kubectl[@]}" get deployments -l "$GROUP/release=$release,$GROUP/revision=$from_revision" \
    -o go-template='{{range .items}}{{with .metadata.annotations}}{{if index . "'$GROUP'/adopted"}}yes{{end}}{{end}}{{end}}')
  [ -z "$adopted" ] || refuse "$from was adopted (spec.adopt), its pods are told by the labels in data.adopted of" \
    "ControllerRevision $release-$from_revision; scale its Deployment up and replace the Services' selectors by those" \
    "and its pod-template-hash (docs/adoption.md), or start the operator and annotate $GROUP/rollback=$id"
}

# What each standby has and needs: as many replicas as the losing side. Writes nothing.
plan_standby() {
  local component standby losing name replicas wanted _
  for component in "${components[@]}"; do
    standby=$(deployment "$component" "$from_revision")
    losing=$(deployment "$component" "$to_revision")
    [ -n "$standby" ] || refuse "the Deployment of $component in revision $from_revision ($from) is gone; traffic" \
      "stays on $to; upgrade to $from or to a version that mends the fault"
    read -r name replicas <<<"$standby"
    read -r _ wanted <<<"${losing:-none 1}"
    [ "$wanted" -ge 1 ] || wanted=1
    [ "$wanted" -ge "$replicas" ] || wanted=$replicas
    standbys+=("$name"); has+=("$replicas"); needs+=("$wanted")
  done
}

# Scales every standby up, then waits: traffic never goes to nothing.
prepare_standby() {
  local index name ready left deadline=$((SECONDS + STANDBY_PATIENCE))
  for index in "${!standbys[@]}"; do
    [ "${has[index]}" -lt "${needs[index]}" ] || continue
    say "${dry_run:+would be }scaling ${standbys[index]} from ${has[index]} to ${needs[index]}"
    [ -n "$dry_run" ] || "${kubectl[@]}" scale deployment "${standbys[index]}" --replicas="${needs[index]}" >/dev/null
  done
  [ -z "$dry_run" ] || return 0
  for index in "${!standbys[@]}"; do
    name=${standbys[index]}
    left=$((deadline - SECONDS)); [ "$left" -ge 1 ] || left=1
    "${kubectl[@]}" wait "deployment/$name" --request-timeout=0 --timeout="${left}s" \
      --for=jsonpath='{.status.readyReplicas}'="${needs[index]}" >/dev/null 2>&1 && continue
    ready=$("${kubectl[@]}" get deployment "$name" -o jsonpath='{.status.readyReplicas}')
    if [ "${ready:-0}" -lt $(((needs[index] + 1) / 2)) ]; then
      fail "$name has ${ready:-0} of ${needs[index]} pods ready; traffic stays where it is, it is never pointed at" \
        "nothing. See why: kubectl -n $own_namespace describe deployment $name; then run this again"
    fi
    say "$name has ${ready} of ${needs[index]} pods ready; going on with that"
  done
}

patch_service() {  # name component resourceVersion [option]
  local selector patch
  selector='{"'$GROUP/release'":"'$release'","'$GROUP/component'":"'$2'","'$GROUP/revision'":"'$from_revision'"}'
  patch='[{"op":"test","path":"/metadata/resourceVersion","value":"'$3'"},'
  patch+='{"op":"replace","path":"/spec/selector","value":'$selector'}]'
  "${kubectl[@]}" patch service "$1" --type=json -p "$patch" "${@:4}" >/dev/null 2>"$errors"
}

# Of one route: its resourceVersion, then rule, backend, name and weight of each backend, a line each.
backends() {
  local template
  # shellcheck disable=SC2016
  template='{{.metadata.resourceVersion}}{{"\n"}}{{range $i, $rule := .spec.rules}}{{range $j, $ref := $rule.backendRefs}}'
  # shellcheck disable=SC2016
  template+='{{$i}} {{$j}} {{$ref.name}} {{$ref.weight}}{{"\n"}}{{end}}{{end}}'
  "${kubectl[@]}" get httproutes.gateway.networking.k8s.io "$1" -o go-template="$template"
}

# Gives a route's users to the former colour. One that was deleted leads nobody and is left out.
patch_route() {  # name [option]
  local version rule backend led weight service wanted patch='' other found to_name
  if ! found=$(backends "$1" 2>"$errors"); then
    grep -q 'NotFound\|not found' "$errors"
    return
  fi
  other=blue; [ "$from_colour" = green ] || other=green
  {
    read -r version
    while read -r rule backend led weight; do
      for service in "${names[@]}"; do
        case $led in
          "$service-$from_colour") wanted=100 to_name=$led ;;
          # A rule that leads nowhere else is one for previews: who asked for the losing colour is given the other.
          "$service-$other") if grep -q "^$rule [0-9]* $service-$from_colour " <<<"$found"
            then wanted=0 to_name=$led; else wanted=100 to_name=$service-$from_colour; fi ;;
          *) continue ;;
        esac
        # Where the colour's own Service is gone, the one that is pointed back in the same breath will do.
        if [ "$wanted" = 100 ] && ! "${kubectl[@]}" get service "$to_name" >/dev/null 2>&1; then to_name=$service; fi
        [ "$weight $led" != "$wanted $to_name" ] || continue
        patch+=',{"op":"replace","path":"/spec/rules/'$rule/backendRefs/$backend'/name","value":"'$to_name'"}'
        patch+=',{"op":"replace","path":"/spec/rules/'$rule/backendRefs/$backend'/weight","value":'$wanted'}'
      done
    done
  } <<<"$found"
  [ -n "$patch" ] || return 0
  patch='[{"op":"test","path":"/metadata/resourceVersion","value":"'$version'"}'$patch']'
  "${kubectl[@]}" patch httproutes.gateway.networking.k8s.io "$1" --type=json -p "$patch" "${@:2}" >/dev/null 2>"$errors"
}

# All Services, or as few as ever: each is tried on the server first, then all are patched at once.
point_back() {
  local attempt name component revision version away
  for attempt in 1 2 3 4 5; do
    away=0
    services >"$listed"
    while read -r name component revision version; do
      [ "$revision" != "$from_revision" ] || continue
      patch_service "$name" "$component" "$version" --dry-run=server || { away=1; break; }
    done <"$listed"
    for name in $in_hand; do patch_route "$name" --dry-run=server || { away=1; break; }; done
    [ -z "$dry_run" ] || { [ "$away" = 0 ] || fail "the API server would refuse: $(cat "$errors")"; return 0; }
    if [ "$away" = 0 ]; then
      while read -r name component revision version; do
        [ "$revision" != "$from_revision" ] || continue
        patch_service "$name" "$component" "$version" || away=1
      done <"$listed"
      for name in $in_hand; do patch_route "$name" || away=1; done
    fi
    [ "$away" = 1 ] || return 0
    say "a Service or a route changed meanwhile; reading them again ($attempt)"
  done
  services | while read -r name _ revision _; do say "  Service $name selects revision $revision"; done
  fail "not every Service and route could be pointed back: $(cat "$errors"); run this again"
}

# Pods that a Service's ready endpoints name.
endpoint_pods() {
  # shellcheck disable=SC2016
  "${kubectl[@]}" get endpointslices -l "kubernetes.io/service-name=$1" -o go-template='{{range .items}}{{range .endpoints}}{{if .conditions.ready}}{{with .targetRef}}{{.name}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}'
}

prove() {
  local name pods standby_pods deadline=$((SECONDS + PROOF_PATIENCE))
  for name in "${names[@]}"; do
    while :; do
      standby_pods=$("${kubectl[@]}" get pods -l "$GROUP/release=$release,$GROUP/revision=$from_revision" \
        -o go-template='{{range .items}}{{.metadata.name}}{{"\n"}}{{end}}')
      pods=$(endpoint_pods "$name")
      if [ -n "$pods" ] && ! grep -qvxF "$standby_pods" <<<"$pods"; then
        say "Service $name: $(wc -l <<<"$pods") endpoint(s), all of $from"
        break
      fi
      [ "$SECONDS" -lt "$deadline" ] ||
        fail "Service $name selects $from, but its EndpointSlices do not show it after $PROOF_PATIENCE s;" \
          "see: kubectl -n $own_namespace get endpointslices -l kubernetes.io/service-name=$name"
      sleep 0.5
    done
  done
}

# Gateways say which generation of a route they took in; a route that was deleted leads nobody.
prove_routes() {
  local name behind deadline=$((SECONDS + PROOF_PATIENCE))
  for name in $in_hand; do
    while :; do
      # shellcheck disable=SC2016
      behind=$("${kubectl[@]}" get httproutes.gateway.networking.k8s.io "$name" --ignore-not-found -o go-template='{{$now := .metadata.generation}}{{range .status.parents}}{{$gateway := .parentRef.name}}{{range .conditions}}{{if lt .observedGeneration $now}}{{$gateway}} {{end}}{{end}}{{end}}')
      [ -n "$behind" ] || { say "HTTPRoute $name: every Gateway took it in"; break; }
      [ "$SECONDS" -lt "$deadline" ] ||
        fail "HTTPRoute $name leads to $from, but Gateway $behind has not taken that in after $PROOF_PATIENCE s;" \
          "see: kubectl -n $own_namespace describe httproute $name"
      sleep 0.5
    done
  done
}

publish() {
  [ -n "$config_map" ] && [ -n "$from_colour" ] || return 0
  if ! "${kubectl[@]}" patch configmap "$config_map" --type=merge \
      -p '{"data":{"current":"'"$from_colour"'"}}' >/dev/null 2>"$errors"; then
    say "warning: ConfigMap $config_map could not be written ($(cat "$errors")); readers of data.current still see" \
      "the losing colour until the operator is back"
    return 0
  fi
  say "ConfigMap $config_map: data.current is $from_colour"
}

# The operator keeps the standby's autoscalers still; who has users has to be able to grow. The rest of what they
# were asked for is the operator's to give back.
free_standby() {
  local template name found
  # shellcheck disable=SC2016
  template='{{range .items}}{{$name := .metadata.name}}{{with .spec.behavior}}{{with .scaleUp}}'
  # shellcheck disable=SC2016
  template+='{{if eq (printf "%v" .selectPolicy) "Disabled"}}{{$name}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}'
  if ! found=$("${kubectl[@]}" get horizontalpodautoscalers.v2.autoscaling \
      -l "$GROUP/release=$release,$GROUP/revision=$from_revision" -o go-template="$template" 2>"$errors"); then
    say "warning: autoscalers could not be read ($(cat "$errors")); until the operator is back $from may not grow"
    return 0
  fi
  for name in $found; do
    if "${kubectl[@]}" patch horizontalpodautoscalers.v2.autoscaling "$name" --type=merge \
        -p '{"spec":{"behavior":{"scaleUp":{"selectPolicy":"Max"}}}}' >/dev/null 2>"$errors"; then
      say "HorizontalPodAutoscaler $name may scale up again"
    else
      say "warning: HorizontalPodAutoscaler $name could not be written ($(cat "$errors")); it does not scale up until" \
        "the operator is back"
    fi
  done
}

# Connections that clients hold end with the losing pods' own drain. By now no new ones arrive:
# node proxies sync once a second, and the proof above has taken longer than nothing.
drain_losing() {
  local component name replicas
  sleep 2
  for component in "${components[@]}"; do
    read -r name replicas <<<"$(deployment "$component" "$to_revision")"
    if [ -z "${name:-}" ] || [ "${replicas:-0}" = 0 ]; then continue; fi
    "${kubectl[@]}" scale deployment "$name" --replicas=0 >/dev/null
    say "$name: $replicas pod(s) finish what they hold and end"
  done
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
errors=$scratch/errors listed=$scratch/services

read_release
kubectl+=(--namespace "$own_namespace")
refuse_what_cannot_be
services >"$listed"
[ -s "$listed" ] || refuse "no Service of $own_namespace/$release selects its pods; there is no traffic to move"
mapfile -t names < <(cut -d' ' -f1 "$listed")
mapfile -t components < <(cut -d' ' -f2 "$listed" | sort -u)
refuse_what_was_adopted
standbys=() has=() needs=()
plan_standby

say "$own_namespace/$release: going back from $to to $from (upgrade $id, phase $phase)${dry_run:+; dry run, nothing is written}"
if [ -n "$dry_run" ]; then
  prepare_standby
  point_back
  say "would point back: ${names[*]}${in_hand:+, and routes: $in_hand}"
  exit 0
fi
write_intent
prepare_standby
point_back
say "traffic is back on $from after $((SECONDS - started)) s: ${names[*]}${in_hand:+, and routes: $in_hand}"
prove
prove_routes
publish
free_standby
[ -n "$keep_losing" ] || drain_losing
say "done in $((SECONDS - started)) s. Left for the operator, which will accept this: hand Exclusive workers back," \
  "remove $to, record the outcome. Until it runs, workers stay with $to."
