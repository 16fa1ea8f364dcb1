"""Somebody else points a Service away from where it should be: answered twice, then people have to settle it.

A person who has settled it may say so by `retry`: it is answered twice more then.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.domain.effects import ClaimObjects, ServicePatch, SwitchServices
from conductor.domain.revision import Revision
from conductor.domain.routing import missing_services, services_of
from conductor.domain.situation import Acting, Situation, Waiting
from conductor.domain.snapshot import ServiceState, Snapshot
from conductor.domain.traffic.choice import traffic_of

#: Two reversions by somebody else are answered; the third is a disagreement that people have to settle.
MAX_REVERSIONS = 2
_CLAIMED = "claimed in epoch "


def put_back(s: Snapshot, active: Revision) -> Situation | None:
    """Point Services back at the revision that should serve; None where they do."""
    if missing_services(s, active) or traffic_of(s).leads_only_to(active):
        return None
    astray = _astray(s, active)
    if not astray:
        return None
    name = astray[0].service
    others = ", ".join(m for m in s.services[name].managers if m != names.FIELD_MANAGER) or "somebody"
    if (short := _not_ready(s, active, {patch.service for patch in astray})) is not None:
        return Waiting(
            Reason.TARGET_NOT_READY,
            f"Service {name} was changed by {others}, and {active.version} has no ready pod of {short} to point it "
            "back at; it is never pointed at nothing",
            stalled=True,
        )
    if not _by_others(s, astray):
        return Acting(
            SwitchServices(tuple(astray), s.epoch),
            Reason.TRAFFIC_REVERTED,
            f"pointing Service {name} at {active.version}, which was decided and not done yet",
        )
    reversions = s.status.traffic.reversions
    retry = f"{_upgrade_id(s)}/traffic/{reversions}"
    asked = s.annotations.get(names.ANNOTATION_RETRY) == retry
    if reversions and reversions % MAX_REVERSIONS == 0 and not asked:
        return Waiting(
            Reason.TRAFFIC_REVERTED,
            f"Service {name}: its selector was changed by {others} {reversions + 1} times; take the selector out "
            f"of what that manager applies, then annotate {names.ANNOTATION_RETRY}={retry} to have it pointed at "
            f"{active.version} again. Nothing that it selects is scaled away meanwhile",
            stalled=True,
        )
    return Acting(
        SwitchServices(tuple(astray), s.epoch),
        Reason.TRAFFIC_REVERTED,
        f"Service {name} was changed by {others}; pointing it back at {active.version}",
        {"reversions": reversions + 1},
    )


def moved_again(dispute: Situation, now: datetime) -> Situation:
    """Users were on the losing colour meanwhile: what was proven and shed since the switch is so no more."""
    if not isinstance(dispute, Acting):
        return dispute
    return replace(dispute, changes={**dispute.changes, "switched_at": now, "served": {}})


def undone(s: Snapshot, revision: Revision) -> bool:
    """Whether somebody undid a switch to that revision; False where a crash or a conflict kept it from being made."""
    return not missing_services(s, revision) and _by_others(s, _astray(s, revision))


def _astray(s: Snapshot, revision: Revision) -> list[ServicePatch]:
    return [
        patch
        for patch in traffic_of(s).switch_to(revision).patches
        if patch.selector != patch.former_selector
    ]


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


def _by_others(s: Snapshot, astray: Sequence[ServicePatch]) -> bool:
    intended = s.status.traffic.intended
    if all(_still(s.services[patch.service], intended.get(patch.service)) for patch in astray):
        return False
    owners = {manager for patch in astray for manager in s.services[patch.service].managers}
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
