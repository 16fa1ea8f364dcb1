"""RollingBack and BackingOut: traffic first, everything else after.

Decided and done from the release, Services, Pods and EndpointSlices alone; no sample can hold it up.
"""

import math
from dataclasses import replace
from datetime import timedelta

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase
from conductor.domain.dispute import put_back
from conductor.domain.nodes import unless_followed
from conductor.domain.phases.context import Context, approval
from conductor.domain.phases.deferred_backout import how_to_take_back, left_standing
from conductor.domain.phases.migration import back_out_schema, expanded_kept, may_have_written
from conductor.domain.phases.soaking import SHED_WAVES
from conductor.domain.phases.standby import edited
from conductor.domain.phases.surge import held, of_revision
from conductor.domain.phases.switching import publish_colour
from conductor.domain.phases.workers import hand_over
from conductor.domain.pods import ending, standby_replicas
from conductor.domain.revision import Revision
from conductor.domain.routing import services_of
from conductor.domain.signals import trouble
from conductor.domain.situation import Acting, Advancing, Ending, Situation, Waiting
from conductor.domain.sizing import bounds
from conductor.domain.snapshot import served_components
from conductor.domain.traffic.choice import lead_all, traffic_of
from conductor.domain.traffic.strict import edge_components, is_strict
from conductor.domain.versioned import delete, scale

#: How long a full standby is waited for before half of it will do: users are on a bad version.
_FULL_STANDBY_PATIENCE = timedelta(seconds=20)
#: What a person may approve where the rollback's target cannot serve.
STAY = "stay"


def rolling_back(context: Context) -> Situation:
    """Point every Service back, hand the workers back, publish, then drain the losing colour."""
    target = context.from_
    upgrade = context.upgrade
    if target is None:
        return Advancing(Phase.BACKING_OUT, Reason.CLEANING_UP, "there is no former version to go back to")
    if (move := _scaled_back(context, target)) is not None:
        return move
    traffic = traffic_of(context.s)
    if not traffic.leads_only_to(target):
        if (hold := _target_not_ready(context, target)) is not None:
            return _unless_given_up(context, target, hold)
        said = (f"pointing all Services back at {target.version}", edited(context))
        back = {"switched_back_at": context.s.now, "serving": upgrade.from_colour}
        return lead_all(context.s, target, "; ".join(part for part in said if part), back)
    if upgrade.switched_back_at is None:
        done = {"switched_back_at": context.s.now, "serving": upgrade.from_colour}
        return Advancing(Phase.ROLLING_BACK, Reason.PROVING_ROUTING, "traffic is back", done)
    handover = hand_over(context.s, target, context.to)
    if isinstance(handover, Acting):
        return handover
    colour = upgrade.from_colour
    publish = publish_colour(context, str(colour)) if colour is not None else None
    if (after_traffic := traffic.end_preview() or publish or held(context)) is not None:
        return after_traffic
    if (gap := traffic.routing_gap(target)) is not None:
        return _unless_hopeless(context, target, Waiting(Reason.PROVING_ROUTING, gap))
    if (lag := unless_followed(context.s, context.to, Reason.PROVING_ROUTING)) is not None:
        return lag
    if (tidying := _trim_surge(context, target) or _remove_candidate(context)) is not None:
        return tidying
    if isinstance(handover, Waiting):
        return _unless_hopeless(context, target, handover)
    return _end(context)


def _unless_hopeless(context: Context, target: Revision, waiting: Waiting) -> Waiting:
    """A wait for pods of the target; where they will not come by themselves, a person is asked."""
    found = trouble(context.s, target)
    if found is None:
        return waiting
    return Waiting(found[0], f"{waiting.message}; {found[1]}", stalled=True)


def _unless_given_up(context: Context, target: Revision, hold: Situation) -> Situation:
    """A target that cannot serve may never do so: a person may let users stay where they are."""
    to = context.to
    if not (isinstance(hold, Waiting) and hold.stalled and traffic_of(context.s).leads_only_to(to)):
        return hold
    if not context.approved(STAY):
        way_out = f"; mend it, or let {to.version} stay and go forward from there: "
        return replace(hold, message=hold.message + way_out + approval(context.s, context.upgrade.id, STAY))
    return Advancing(
        Phase.CLOSING,
        Reason.ROLLBACK_GIVEN_UP,
        f"{to.version} stays, as approved: {target.version} cannot take its users back",
        {"stays": True, "failure": None, "decided_at": None},
    )


def backing_out(context: Context) -> Situation:
    """No user met the candidate: delete it, undo the expand step."""
    stands = any(workload.revision == context.to.hash for workload in context.s.workloads)
    if context.from_ is not None and stands and traffic_of(context.s).may_lead_to(context.to):
        return Advancing(
            Phase.ROLLING_BACK,
            Reason.TRAFFIC_REVERTED,
            f"somebody else gave {context.to.version} users; they go back before it is removed",
            {"took_traffic": True},
        )
    if context.from_ is not None and (dispute := put_back(context.s, context.from_)) is not None:
        return dispute
    if (preview := traffic_of(context.s).end_preview()) is not None:
        return preview
    if (removal := _remove_candidate(context)) is not None:
        return removal
    if (sized := held(context)) is not None:
        return sized
    if (move := back_out_schema(context)) is not None:
        return move
    return _end(context)


def _end(context: Context) -> Ending:
    failure = context.upgrade.failure
    outcome = failure.outcome if failure else Outcome.ABORTED
    reason = failure.reason if failure else Reason.ABORTED
    message = failure.message if failure else "the upgrade was taken back"
    if expanded_kept(context):
        wrote = may_have_written(context)
        why = f"{context.to.version} may have written" if wrote else "it was approved"
        how = how_to_take_back(context.s, context.upgrade.id, context.to.version)
        message += (
            f" ({Reason.EXPANDED_KEPT}: {why}, so the expanded schema stays; both versions work on it; {how})"
        )
        return Ending(outcome, reason, message, {"pending_backout": left_standing(context)})
    return Ending(outcome, reason, message)


def _target_not_ready(context: Context, target: Revision) -> Situation | None:
    s = context.s
    decided_at = context.upgrade.decided_at or s.now
    patient = s.now - decided_at < _FULL_STANDBY_PATIENCE
    for component in served_components(target):
        base = standby_replicas(s, component.name, context.to, target)
        ready = len(s.ready_pods(target.hash, component.name))
        enough = base if patient else math.ceil(base / 2)
        if ready < enough:
            return Waiting(
                Reason.TARGET_NOT_READY,
                f"{target.version} has {ready} of {base} pods of {component.name} ready; traffic is held where it is, "
                "it is never pointed at nothing",
                decided_at + _FULL_STANDBY_PATIENCE if patient else None,
                stalled=not patient,
            )
    return None


def _scaled_back(context: Context, target: Revision) -> Acting | None:
    """Whoever scaled the target down, before or after traffic came back: it has to carry all of it."""
    s = context.s
    for component in served_components(target):
        base = standby_replicas(s, component.name, context.to, target)
        workload = s.workload(component.name, target.hash)
        if workload is not None and workload.replicas < base:
            return Acting(
                scale(workload, base), Reason.TARGET_NOT_READY, f"scaling {workload.name} back to {base}"
            )
    return None


def _trim_surge(context: Context, target: Revision) -> Acting | None:
    """Pods that shedding had surged by would stay for good, and the next candidate would be made as large."""
    s = context.s
    for component in served_components(target):
        if bounds(s, target, component.name) is not None:
            # Its autoscaler is free to grow again, and ends what is too much once it is given back.
            continue
        base = standby_replicas(s, component.name, context.to, target)
        workload = s.workload(component.name, target.hash)
        if workload is not None and base < workload.replicas <= base + math.ceil(base / SHED_WAVES):
            return Acting(
                scale(workload, base),
                Reason.CLEANING_UP,
                f"ending the surge of {component.name}",
            )
    return None


def _remove_candidate(context: Context) -> Situation | None:
    s, to = context.s, context.to
    if all(entry.phase is not Phase.BRINGING_UP for entry in context.upgrade.timeline):
        # Nothing of it was made by this upgrade; what a kept revision left is not its to remove.
        return None
    if context.upgrade.took_traffic and (outer := _remove_edge(context)) is not None:
        return outer
    objects = [("Deployment", workload.name) for workload in s.workloads if workload.revision == to.hash]
    objects += of_revision(s, to.hash)
    objects += [
        ("Service", name)
        for _, service in services_of(to)
        if (name := names.preview_name(service.name)) in s.services and s.services[name].release == s.name
    ]
    pulls = names.pre_pull_prefix(s.name, context.upgrade.id)
    objects += [("Job", name) for name in sorted(s.jobs) if name.startswith(pulls)]
    kept = {service.name for _, service in services_of(context.from_)} if context.from_ else set()
    # Only the candidate declares these: with its pods gone they would select nothing.
    objects += [
        ("Service", name)
        for _, service in services_of(to)
        if context.from_ is not None and service.name not in kept
        for name in (service.name, *(names.colour_service_name(service.name, colour) for colour in Colour))
        if (state := s.services.get(name)) is not None and state.release == s.name
    ]
    if objects:
        return Acting(delete(s, objects), Reason.DRAINING, f"removing {to.version}")
    if left := s.pods_of(to.hash):
        return ending(s, left, Reason.DRAINING, f"{len(left)} pod(s) of {to.version} finish what they hold")
    return None


def _remove_edge(context: Context) -> Situation | None:
    """With `consistency: Strict` what the edge still holds goes on in its own colour: what is behind it goes later."""
    s, to = context.s, context.to
    edge = edge_components(s, to) if is_strict(s) else frozenset[str]()
    behind = [item for item in s.workloads if item.revision == to.hash and item.component not in edge]
    if not edge or not behind:
        return None
    if outer := [
        ("Deployment", item.name)
        for item in s.workloads
        if item.revision == to.hash and item.component in edge
    ]:
        return Acting(delete(s, outer), Reason.DRAINING, f"removing the edge of {to.version}")
    if left := [pod for pod in s.pods_of(to.hash) if pod.component in edge]:
        said = f"{len(left)} pod(s) at the edge of {to.version} finish what they hold"
        return ending(s, left, Reason.DRAINING, said)
    return None
