"""What must be there for a revision to serve, and is put back where somebody took it away."""

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase, UpgradeStatus
from conductor.domain.adoption import hold_still, send_away
from conductor.domain.effects import CreateObject
from conductor.domain.manifests import serving_service
from conductor.domain.phases.context import Context
from conductor.domain.phases.preflight import record
from conductor.domain.revision import Revision, render_deployment
from conductor.domain.routing import missing_services
from conductor.domain.situation import Acting, Failing, Situation, Waiting
from conductor.domain.sizing import size_when_made_again
from conductor.domain.snapshot import Snapshot
from conductor.domain.traffic.choice import traffic_of
from conductor.domain.traffic.strict import edge_services, is_strict, upheld

#: Phases in which only the former version has users, and the candidate none.
BEFORE_SWITCH = frozenset(
    {
        Phase.BOOTSTRAPPING,
        Phase.PREFLIGHT,
        Phase.EXPANDING,
        Phase.BRINGING_UP,
        Phase.MIGRATING,
        Phase.VERIFYING,
        Phase.RAMPING,
    }
)
#: Phases in which all users are meant to be on one version.
_SETTLED_TRAFFIC = (BEFORE_SWITCH | {Phase.BACKING_OUT, Phase.SOAKING, Phase.CLOSING, Phase.CONTRACTING}) - {
    Phase.RAMPING
}
#: Phases in which a route may lead to the colours' own Services. A rollback waits for none of them.
_COLOURS_NEEDED = frozenset({Phase.MIGRATING, Phase.VERIFYING, Phase.RAMPING, Phase.SWITCHING})
#: Phases in which pods of the candidate run, and it is not going back.
_CANDIDATE_CALLS = _COLOURS_NEEDED | {Phase.SOAKING, Phase.CLOSING, Phase.CONTRACTING}
#: Phases that can end without knowing what the former version was.
_NEEDS_NO_FORMER = frozenset({Phase.CONTRACTING, Phase.BACKING_OUT})


def repair(s: Snapshot, active: Revision) -> Acting | None:
    """Recreate a Deployment or Service of the active revision that is gone; None where all are there."""
    colour = s.status.traffic.current
    if colour is None:
        return None
    return (
        _deployment(s, active, colour) or _service(s, active) or upheld(s, active, colour, Reason.REPAIRING)
    )


def repair_in_upgrade(context: Context) -> Acting | None:
    """The same while an upgrade is under way, for what serves and for what it may have to go back to.

    A candidate that has users and loses its pods is not mended here: going back is faster.
    """
    s, upgrade, phase = context.s, context.upgrade, context.s.status.phase
    from_, colour = context.from_, context.upgrade.from_colour
    if from_ is not None and (loose := hold_still(s, from_)) is not None:
        return loose
    serving = from_ if phase in BEFORE_SWITCH or phase is Phase.BACKING_OUT else context.to
    if (
        serving is not None
        and phase in _SETTLED_TRAFFIC
        and (away := send_away(s, serving, from_)) is not None
    ):
        return away
    if (behind := _behind(context)) is not None:
        return behind
    if phase is Phase.CONTRACTING:
        return _deployment(s, context.to, upgrade.to_colour) or _service(s, context.to)
    if phase in (Phase.SOAKING, Phase.CLOSING):
        behind_routes = traffic_of(s).repair(from_, context.to) if from_ is not None else None
        return behind_routes or _service(s, context.to)
    if from_ is None or colour is None:
        return None
    if phase in _COLOURS_NEEDED and (behind_routes := traffic_of(s).repair(from_, context.to)) is not None:
        return behind_routes
    if phase in BEFORE_SWITCH or phase is Phase.BACKING_OUT:
        return _deployment(s, from_, colour) or _service(s, from_)
    if phase is Phase.ROLLING_BACK:
        serving = from_ if upgrade.switched_back_at is not None else context.to
        return _deployment(s, from_, colour, workers=False) or _service(s, serving)
    return None


def _behind(context: Context) -> Acting | None:
    """Services by which pods of one colour call each other, for as long as there are pods that may.

    Those of a candidate that comes up are made by that phase itself, and those of one that goes wait for its users.
    """
    s, upgrade, phase = context.s, context.upgrade, context.s.status.phase
    if phase is Phase.ROLLING_BACK:
        return _behind_going_back(context)
    if context.from_ is not None and upgrade.from_colour is not None and phase is not Phase.CONTRACTING:
        former = upheld(s, context.from_, upgrade.from_colour, Reason.REPAIRING)
        if former is not None:
            return former
    return upheld(s, context.to, upgrade.to_colour, Reason.REPAIRING) if phase in _CANDIDATE_CALLS else None


def _behind_going_back(context: Context) -> Acting | None:
    """Users first. Before them only what pods that they go back to call by: those would ask for it in vain.

    Each is tried, and no step waits for one that the API server has just refused, as by a quota on Services.
    """
    s, upgrade, from_, move = context.s, context.upgrade, context.from_, None
    back = upgrade.switched_back_at is not None
    if from_ is not None and upgrade.from_colour is not None:
        edge = edge_services(s, from_) if is_strict(s) and not back else frozenset[str]()
        move = upheld(s, from_, upgrade.from_colour, Reason.REPAIRING, leave=edge)
    if move is None and back and any(workload.revision == context.to.hash for workload in s.workloads):
        move = upheld(s, context.to, upgrade.to_colour, Reason.REPAIRING)
    return None if move is None or _just_tried(upgrade, move) else move


def _just_tried(upgrade: UpgradeStatus, move: Acting) -> bool:
    intent, decided_at = upgrade.intent, upgrade.decided_at
    if intent is None or (decided_at is not None and intent.at < decided_at):
        return False
    return (intent.effect, intent.subject) == (move.effect.name, move.effect.subject[:250])


def former_lost(context: Context) -> Situation | None:
    """Somebody deleted the record of the former version: nothing knows any more what going back would mean."""
    s, upgrade = context.s, context.upgrade
    if context.from_ is not None or not upgrade.from_revision or s.status.phase in _NEEDS_NO_FORMER:
        return None
    if s.digest == upgrade.from_revision and (pending := record(s)) is not None:
        return pending
    name = names.revision_name(s.name, upgrade.from_revision)
    if not upgrade.took_traffic:
        return Failing(
            Reason.UNKNOWN_REVISION,
            f"ControllerRevision {name} is gone: without the record of {upgrade.from_} there would be no way back",
            Outcome.REFUSED,
        )
    return Waiting(
        Reason.UNKNOWN_REVISION,
        f"ControllerRevision {name} is gone while {upgrade.from_} is what a rollback goes to; nothing is changed until "
        f"it is restored, or spec asks for {upgrade.from_} again",
        stalled=True,
    )


def _deployment(s: Snapshot, revision: Revision, colour: Colour, *, workers: bool = True) -> Acting | None:
    """`workers`: whether those without a Service may work at once; else their handover starts them.

    What was adopted is not ours to make: without it there is no way back, which is said where it is asked for.
    """
    if revision.adopted is not None:
        return None
    for component in revision.spec.components:
        if s.workload(component.name, revision.hash) is not None:
            continue
        name = names.deployment_name(s.name, component.name, colour, revision.hash)
        at_work = component.services or workers
        replicas = size_when_made_again(s, revision, component.name, name) if at_work else 0
        manifest = render_deployment(
            s.name, s.namespace, revision, component, colour=colour, replicas=replicas
        )
        return Acting(
            CreateObject(manifest),
            Reason.REPAIRING,
            f"Deployment {manifest['metadata']['name']} was deleted by somebody; creating it again",
        )
    return None


def _service(s: Snapshot, revision: Revision) -> Acting | None:
    for component, service in missing_services(s, revision):
        return Acting(
            CreateObject(serving_service(s, revision, component, service)),
            Reason.REPAIRING,
            f"Service {service.name} was deleted by somebody; creating it again",
        )
    return None
