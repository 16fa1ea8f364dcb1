"""BringingUp: the candidate beside the active colour, its pods ready, no user on them."""

from dataclasses import replace

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import ApplyObject, CreateObject
from conductor.domain.manifests import preview_service
from conductor.domain.phases.context import Context
from conductor.domain.phases.expanded import hurt_by_expanding
from conductor.domain.phases.pre_pulling import begun
from conductor.domain.pods import not_ready, wanted_replicas
from conductor.domain.revision import render_deployment
from conductor.domain.routing import services_of
from conductor.domain.signals import trouble
from conductor.domain.situation import Acting, Advancing, Failing, Situation, Waiting
from conductor.domain.traffic.choice import traffic_of
from conductor.domain.traffic.strict import behind_gap, by_colour, routed, upheld
from conductor.domain.versioned import delete, scale


def bringing_up(context: Context) -> Situation:
    """Create one Deployment a pass and give it its size; workers are held back at zero until the switch."""
    s, to = context.s, context.to
    if (first := hurt_by_expanding(context) or _other_colour(context)) is not None:
        return first
    if (behind := _own_services(context)) is not None:
        return _in_time(context, behind)
    if (growing := _deployed(context) or begun(context)) is not None:
        return growing
    if (found := trouble(s, to)) is not None:
        return Failing(*found, outcome=Outcome.REFUSED)
    if short := not_ready(s, to):
        if context.past(context.upgrade.deadline):
            return Failing(
                Reason.BRING_UP_DEADLINE,
                f"spec.deadlines.bringUp: pods were not ready in time ({', '.join(short)}); look at "
                f"`kubectl describe pods -l {names.LABEL_REVISION}={to.hash}` or raise the deadline",
                Outcome.REFUSED,
            )
        return Waiting(Reason.WAITING_FOR_PODS, f"pods ready: {', '.join(short)}", context.upgrade.deadline)
    for component, service in services_of(to):
        manifest = preview_service(s, to, component, service)
        state = s.services.get(manifest["metadata"]["name"])
        if state is None or dict(state.selector) != manifest["spec"]["selector"]:
            return Acting(
                ApplyObject(manifest),
                Reason.CREATING_PREVIEW,
                f"creating Service {manifest['metadata']['name']}",
            )
    if context.from_ is not None and (move := traffic_of(s).prepare(context.from_, to)) is not None:
        return _in_time(context, move)
    if (gap := behind_gap(s, to, context.upgrade.to_colour)) is not None:
        return _in_time(context, Waiting(Reason.PROVING_ROUTING, gap))
    return Advancing(Phase.MIGRATING, Reason.STARTED, "every pod is ready")


def _deployed(context: Context) -> Acting | None:
    s, to = context.s, context.to
    for component in to.spec.components:
        wanted = wanted_replicas(s, component.name, to, context.from_) if component.services else 0
        workload = s.workload(component.name, to.hash)
        if workload is None:
            manifest = render_deployment(
                s.name, s.namespace, to, component, colour=context.upgrade.to_colour, replicas=0
            )
            return Acting(
                # A creation cannot be fenced: a leader that was deposed with this in its hand makes it after its
                # upgrade has ended. So it never overwrites, and nothing runs until a scaling, which can.
                CreateObject(manifest),
                Reason.CREATING_GREEN,
                f"creating Deployment {manifest['metadata']['name']}",
            )
        if workload.replicas < wanted:
            return Acting(
                scale(workload, wanted),
                Reason.CREATING_GREEN,
                f"scaling {workload.name} to {wanted}",
            )
    return None


def _own_services(context: Context) -> Acting | Waiting | None:
    """With `consistency: Strict`, the Services of the candidate's colour, before any pod of it could call by them.

    The colour may be that of a version before, and a route may still name its Service: then routes come first.
    """
    s, to, from_ = context.s, context.to, context.from_
    if not by_colour(s, to):
        return None
    theirs = routed(s, from_, to) if from_ is not None else frozenset[str]()
    own = upheld(s, to, context.upgrade.to_colour, Reason.CREATING_GREEN, leave=theirs)
    if own is not None or from_ is None or not theirs:
        return own
    return traffic_of(s).prepare(from_, to)


def _in_time(context: Context, move: Acting | Waiting) -> Situation:
    if not isinstance(move, Waiting):
        return move
    if context.past(context.upgrade.deadline):
        return Failing(
            Reason.ROUTING_UNPROVEN,
            f"spec.deadlines.bringUp: {move.message}; see that Service's EndpointSlices, or that route's status and "
            "that its Gateway's controller runs",
            Outcome.REFUSED,
        )
    return replace(move, until=context.upgrade.deadline)


def _other_colour(context: Context) -> Acting | None:
    """A kept revision that comes again may have had the other colour, which is the active one's now.

    Who asks a pod or the traffic ConfigMap for its colour must get the same answer.
    """
    s, upgrade = context.s, context.upgrade
    stale = tuple(
        ("Deployment", workload.name)
        for workload in s.workloads
        if workload.revision == context.to.hash and workload.colour is not upgrade.to_colour
    )
    if not stale or not upgrade.from_revision:
        return None
    said = f"removing what {context.to.version} left when it was {upgrade.to_colour.other}"
    return Acting(delete(s, stale), Reason.CLEANING_UP, said)


def brought_up_again(context: Context) -> Advancing | None:
    """Back to BringingUp where somebody deleted a part of the candidate: what was seen of it until now is void."""
    s, to = context.s, context.to
    gone = [
        names.deployment_name(s.name, component.name, context.upgrade.to_colour, to.hash)
        for component in to.spec.components
        if s.workload(component.name, to.hash) is None
    ]
    gone += [
        name for _, service in services_of(to) if (name := names.preview_name(service.name)) not in s.services
    ]
    if not gone:
        return None
    return Advancing(
        Phase.BRINGING_UP,
        Reason.REPAIRING,
        f"{gone[0]} was deleted by somebody; bringing {to.version} up again",
        {"pre_pull_since": None},
    )
