"""Switching: all components to the candidate as one effect, then the proof that traffic went there."""

from datetime import datetime, timedelta
from typing import Any

from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.dispute import moved_again, put_back, undone
from conductor.domain.effects import CreateObject
from conductor.domain.manifests import serving_service
from conductor.domain.phases.context import Context
from conductor.domain.phases.standby import noted
from conductor.domain.phases.workers import hand_over
from conductor.domain.pods import lost_readiness
from conductor.domain.routing import PROOF_PATIENCE, PROOF_POLL, data_path_gap, missing_services
from conductor.domain.signals import trouble
from conductor.domain.situation import Acting, Advancing, Failing, Situation, Waiting
from conductor.domain.traffic.choice import lead_all, traffic_of
from conductor.domain.traffic.data_plane import gateway_gap
from conductor.domain.traffic.strict import behind_gap
from conductor.domain.versioned import publish

_HOLD_POLL = timedelta(seconds=5)


def switching(context: Context) -> Situation:
    """Services, proof, workers, the published colour; in this order."""
    s, to, upgrade = context.s, context.to, context.upgrade
    for component, service in missing_services(s, to):
        return Acting(
            CreateObject(serving_service(s, to, component, service)),
            Reason.SWITCHING,
            f"creating Service {service.name}",
            {"took_traffic": True, "switched_at": s.now},
        )
    if not upgrade.took_traffic and (found := trouble(s, to)) is not None:
        return Failing(*found, outcome=Outcome.REFUSED)
    if (lost := lost_readiness(s, to)) is not None:
        return _fail_or_hold(context, Reason.READINESS_LOST, lost)
    if upgrade.switched_at is not None and undone(s, to) and (dispute := put_back(s, to)) is not None:
        return moved_again(dispute, s.now)
    if (moving := _led(context)) is not None:
        return moving
    if upgrade.switched_at is None:
        # Somebody else pointed them there in the moment before we would have.
        there = {**_moved(context), "serving": upgrade.to_colour}
        return Advancing(
            Phase.SWITCHING, Reason.PROVING_ROUTING, f"all Services select {to.version} already", there
        )
    since = upgrade.switched_at
    gap = _unproven(context, since)
    if gap is not None:
        if s.now - since > PROOF_PATIENCE:
            unproven = (
                f"{gap}; see that spec.verification.http fits {to.version}, and what else answers there"
            )
            return _fail_or_hold(context, Reason.ROUTING_UNPROVEN, unproven)
        return Waiting(Reason.PROVING_ROUTING, gap, s.now + PROOF_POLL)
    if (move := hand_over(s, to, context.from_)) is not None:
        if isinstance(move, Waiting) and (found := trouble(s, to)) is not None:
            return _fail_or_hold(context, *found)
        return move
    if (publish := publish_colour(context, str(upgrade.to_colour))) is not None:
        return publish
    return Advancing(Phase.SOAKING, Reason.SOAKING, f"all traffic is on {to.version}")


def _unproven(context: Context, since: datetime) -> str | None:
    """What objects show, then what answers; through Gateways where the former version answered there."""
    s, to = context.s, context.to
    gap = traffic_of(s).routing_gap(to) or data_path_gap(s, to, since)
    if gap is not None or context.from_ is None:
        return gap
    return gateway_gap(s, context.from_, to, context.upgrade.gateways, since)


def _led(context: Context) -> Situation | None:
    """The next move that leads everybody to the candidate; None once they are."""
    s, to, traffic = context.s, context.to, traffic_of(context.s)
    if traffic.leads_only_to(to):
        return None
    if (gap := behind_gap(s, to, context.upgrade.to_colour)) is not None:
        return _in_time(context, gap)
    if context.from_ is not None and (first := traffic.approach(context.from_, to)) is not None:
        return _in_time(context, first.message) if isinstance(first, Waiting) else first
    there = {**_moved(context), "serving": context.upgrade.to_colour}
    return lead_all(s, to, f"pointing all Services at {to.version}", there)


def _in_time(context: Context, gap: str) -> Situation:
    """The wait for what users are to be led to, which BringingUp saw in place: as long as it may take there."""
    deadline = context.upgrade.deadline
    if not context.past(deadline):
        return Waiting(Reason.PROVING_ROUTING, gap, deadline)
    unled = (
        f"spec.deadlines.bringUp: {gap}; see that Service's EndpointSlices and the controller that writes them, "
        f"or raise the deadline; {context.to.version} was not given its users"
    )
    return _fail_or_hold(context, Reason.ROUTING_UNPROVEN, unled)


def _moved(context: Context) -> dict[str, Any]:
    return {"took_traffic": True, "switched_at": context.s.now, "standby_rollouts": noted(context)}


def _fail_or_hold(context: Context, reason: Reason, message: str) -> Situation:
    """Take the switch back; a first install has nothing to go back to, and its Service may have users already."""
    if context.from_ is not None or not context.upgrade.took_traffic:
        met = context.upgrade.took_traffic
        return Failing(reason, message, Outcome.ROLLED_BACK if met else Outcome.REFUSED)
    held = f"{message}; there is no former version to go back to, so what serves is left as it is"
    return Waiting(reason, held, context.s.now + _HOLD_POLL, stalled=True)


def publish_colour(context: Context, colour: str) -> Acting | None:
    """Keep the traffic ConfigMap true; None when it is."""
    name = context.spec.traffic.config_map
    if name is None or context.s.published_colour == colour:
        return None
    return Acting(
        publish(context.s, name, colour),
        Reason.PUBLISHING_COLOUR,
        f"publishing {colour} in ConfigMap {name}",
    )
