"""Somebody else points a Service or a route away from where it should be: answered twice, then people settle it.

A person who has settled it may say so by `retry`: it is answered twice more then.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.domain.effects import ClaimObjects, RoutePatch, ServicePatch, SwitchServices
from conductor.domain.revision import Revision
from conductor.domain.routing import missing_services, services_of
from conductor.domain.situation import Acting, Situation, Waiting
from conductor.domain.snapshot import ServiceState, Snapshot
from conductor.domain.traffic.choice import traffic_of

#: Two reversions by somebody else are answered; the third is a disagreement that people have to settle.
MAX_REVERSIONS = 2
_CLAIMED = "claimed in epoch "
_ROUTE = "HTTPRoute/"
Patch = ServicePatch | RoutePatch


def put_back(s: Snapshot, active: Revision) -> Situation | None:
    """Point what leads users back at the revision that should serve; None where it does."""
    if missing_services(s, active) or traffic_of(s).leads_only_to(active):
        return None
    astray = _astray(s, active)
    if not astray:
        return None
    if (short := _not_ready(s, active, {name for patch in astray for name in _services(patch)})) is not None:
        return Waiting(
            Reason.TARGET_NOT_READY,
            f"{_named(astray[0])} was changed by {_others(s, astray[0])}, and {active.version} has no ready pod of "
            f"{short} to point it back at; it is never pointed at nothing",
            stalled=True,
        )
    switch = _switch(s, astray)
    if not _by_others(s, astray):
        return Acting(
            switch,
            Reason.TRAFFIC_REVERTED,
            f"pointing {_named(astray[0])} at {active.version}, which was decided and not done yet",
        )
    return _answer(s, Acting(switch, Reason.TRAFFIC_REVERTED, ""), astray[0], f"at {active.version}")


def contested(s: Snapshot, move: Acting) -> Acting | Waiting:
    """A share that is to be brought about once more, because somebody else took it back."""
    if not isinstance(move.effect, SwitchServices):
        return move
    astray = _moved(move.effect)
    if not astray or not _by_others(s, astray):
        return move
    answer = _answer(s, move, astray[0], "to the share of this step")
    upgrade = s.status.upgrade
    return replace(answer, until=upgrade.deadline) if isinstance(answer, Waiting) and upgrade else answer


def _answer(s: Snapshot, move: Acting, patch: Patch, towards: str) -> Acting | Waiting:
    """Make the move once more, unless it was made as often as is good."""
    reversions = s.status.traffic.reversions
    retry = f"{_upgrade_id(s)}/traffic/{reversions}"
    asked = s.annotations.get(names.ANNOTATION_RETRY) == retry
    if reversions and reversions % MAX_REVERSIONS == 0 and not asked:
        what, field, leads = (
            ("its selector was", "the selector", "selects")
            if isinstance(patch, ServicePatch)
            else ("its backends were", "its backends", "leads to")
        )
        return Waiting(
            Reason.TRAFFIC_REVERTED,
            f"{_named(patch)}: {what} changed by {_others(s, patch)} {reversions + 1} times; take {field} out "
            f"of what that manager applies, then annotate {names.ANNOTATION_RETRY}={retry} to have it pointed "
            f"{towards} again. Nothing that it {leads} is scaled away meanwhile",
            stalled=True,
        )
    return replace(
        move,
        reason=Reason.TRAFFIC_REVERTED,
        message=f"{_named(patch)} was changed by {_others(s, patch)}; pointing it back {towards}",
        changes={**move.changes, "reversions": reversions + 1},
    )


def moved_again(dispute: Situation, now: datetime) -> Situation:
    """Users were on the losing colour meanwhile: what was proven and shed since the switch is so no more."""
    if not isinstance(dispute, Acting):
        return dispute
    return replace(dispute, changes={**dispute.changes, "switched_at": now, "served": {}})


def undone(s: Snapshot, revision: Revision) -> bool:
    """Whether somebody undid a switch to that revision; False where a crash or a conflict kept it from being made."""
    return not missing_services(s, revision) and _by_others(s, _astray(s, revision))


def intentions(effect: SwitchServices) -> dict[str, str]:
    """What an effect was decided on, to be kept: where that has not moved since, nobody changed it.

    A route's controller writes to it all the time, so that not its version tells, but its generation.
    """
    services = {patch.service: patch.resource_version for patch in effect.patches}
    return services | {f"{_ROUTE}{patch.route}": str(patch.generation) for patch in effect.routes}


def _astray(s: Snapshot, revision: Revision) -> list[Patch]:
    return _moved(traffic_of(s).switch_to(revision))


def _moved(switch: SwitchServices) -> list[Patch]:
    services = [patch for patch in switch.patches if patch.selector != patch.former_selector]
    return [*services, *switch.routes]


def _switch(s: Snapshot, astray: Sequence[Patch]) -> SwitchServices:
    services = tuple(patch for patch in astray if isinstance(patch, ServicePatch))
    routes = tuple(patch for patch in astray if isinstance(patch, RoutePatch))
    return SwitchServices(services, s.epoch, routes)


def _named(patch: Patch) -> str:
    return f"Service {patch.service}" if isinstance(patch, ServicePatch) else f"HTTPRoute {patch.route}"


def _services(patch: Patch) -> tuple[str, ...]:
    return (patch.service,) if isinstance(patch, ServicePatch) else patch.services


def _managers(s: Snapshot, patch: Patch) -> tuple[str, ...]:
    if isinstance(patch, ServicePatch):
        return s.services[patch.service].managers
    return s.routes[patch.route].managers


def _others(s: Snapshot, patch: Patch) -> str:
    return ", ".join(m for m in _managers(s, patch) if m != names.FIELD_MANAGER) or "somebody"


def through_claim(s: Snapshot, claims: ClaimObjects) -> dict[str, str]:
    """What was intended and not done yet, told by the epoch of a claim that moves the version it was told by."""
    claimed = {claim.name for claim in claims.claims if claim.kind == "Service"}
    return {
        name: f"{_CLAIMED}{claims.epoch}"
        if name in claimed and (state := s.services.get(name)) is not None and _still(state, version)
        else version
        for name, version in s.status.traffic.intended.items()
    }


def _still(state: ServiceState, intended: str | None) -> bool:
    """Whether nobody but a claim of ours touched the Service since the last switch was decided."""
    return intended in (state.resource_version, f"{_CLAIMED}{state.epoch}")


def _untouched(s: Snapshot, patch: Patch) -> bool:
    intended = s.status.traffic.intended
    if isinstance(patch, ServicePatch):
        return _still(s.services[patch.service], intended.get(patch.service))
    return intended.get(f"{_ROUTE}{patch.route}") == str(patch.generation)


def _by_others(s: Snapshot, astray: Sequence[Patch]) -> bool:
    if all(_untouched(s, patch) for patch in astray):
        return False
    owners = {manager for patch in astray for manager in _managers(s, patch)}
    return owners != {names.FIELD_MANAGER}


def _upgrade_id(s: Snapshot) -> str:
    """The upgrade under way, or the last one: a word given about it says nothing about the next."""
    known = s.status.upgrade or s.status.last_upgrade
    return known.id if known else ""


def _not_ready(s: Snapshot, revision: Revision, services: Set[str]) -> str | None:
    """A component behind one of these Services of which nothing could answer."""
    for component, service in services_of(revision):
        if service.name in services and not s.ready_pods(revision.hash, component.name):
            return component.name
    return None
