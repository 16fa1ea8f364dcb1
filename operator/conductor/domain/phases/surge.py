"""Autoscalers and disruption budgets of what runs: as asked for at rest, held while two colours stand side by side.

While an upgrade is under way no autoscaler makes a colour smaller: what serves may grow, and what is brought up or
stands by is as large as what serves. The size of the standby is the operator's own matter (it sheds surge-first), so
that its autoscaler rests; afterwards each is as it was asked for. What is held is a function of the phase alone, so
that whoever comes next finds the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.domain.companion import AUTOSCALER, FIELDS, KINDS, Asked, Companion, inert, manifest
from conductor.domain.effects import CreateObject, Effect, RewriteObject
from conductor.domain.phases.context import Context
from conductor.domain.pods import standby_replicas, wanted_replicas
from conductor.domain.revision import Revision, render_deployment
from conductor.domain.situation import Acting, Situation, Waiting
from conductor.domain.sizing import asked_for, asks, bounds, standing
from conductor.domain.snapshot import Snapshot, Workload, served_components
from conductor.domain.versioned import delete, scale

_REASONS = {AUTOSCALER: Reason.AUTOSCALING}
#: Values of a scaling policy's `selectPolicy`; the first is what the API server takes where none is given.
_MOST, _NONE = "Max", "Disabled"


class Hold(StrEnum):
    """What an autoscaler of ours may do now."""

    FREE = "as asked for"
    GROWING = "held from scaling down"
    RESTING = "held still"


#: What becomes of the former colour's autoscalers and of the candidate's, by phase.
_HOLDS: Mapping[Phase, tuple[Hold, Hold]] = {
    Phase.PREFLIGHT: (Hold.FREE, Hold.GROWING),
    Phase.EXPANDING: (Hold.FREE, Hold.GROWING),
    Phase.BRINGING_UP: (Hold.GROWING, Hold.GROWING),
    Phase.MIGRATING: (Hold.GROWING, Hold.GROWING),
    Phase.VERIFYING: (Hold.GROWING, Hold.GROWING),
    Phase.RAMPING: (Hold.GROWING, Hold.GROWING),
    Phase.SOAKING: (Hold.RESTING, Hold.GROWING),
    Phase.CLOSING: (Hold.RESTING, Hold.GROWING),
    Phase.CONTRACTING: (Hold.RESTING, Hold.FREE),
    Phase.ROLLING_BACK: (Hold.GROWING, Hold.RESTING),
    Phase.BACKING_OUT: (Hold.FREE, Hold.RESTING),
}
#: Until it has users nothing but the former colour's size says how large the candidate is to be.
_FOLLOWING = frozenset({Phase.MIGRATING, Phase.VERIFYING})


def at_rest(s: Snapshot, active: Revision) -> Acting | None:
    """What stands beside the version that serves, as it is asked for; None where it does."""
    return _beside(s, active, Hold.FREE, None)


def forgotten(s: Snapshot, situation: Situation) -> Situation:
    """At rest, with nothing left and nothing that asks for any: nobody has to look for them from now on."""
    if not (s.status.sized and s.companions == () and isinstance(situation, Waiting)):
        return situation
    if asks(s.spec, s.digest, [s.active] if s.active is not None else []):
        return situation
    return replace(situation, changes={**situation.changes, "sized": False})


def held(context: Context) -> Acting | None:
    """The next thing that is to stand otherwise beside either colour in this phase; None where all is as it should be.

    Called where nothing is more urgent: no way back waits for it.
    """
    s, to, from_ = context.s, context.to, context.from_
    former, candidate = _HOLDS.get(s.status.phase, (Hold.FREE, Hold.FREE))
    if from_ is None or not context.spec.surge.pin:
        former = candidate = Hold.FREE
    going = s.status.phase in (Phase.ROLLING_BACK, Phase.BACKING_OUT)
    if from_ is not None and (move := _beside(s, from_, former, to)) is not None:
        return move
    if not going and (move := _beside(s, to, candidate, None)) is not None:
        return move
    return _followed(context) if s.status.phase in _FOLLOWING else None


def of_revision(s: Snapshot, revision: str) -> list[tuple[str, str]]:
    """All that stands beside the Deployments of a revision, to be removed with them."""
    return [(item.kind, item.name) for item in s.companions or () if item.revision == revision]


def left_over(s: Snapshot) -> list[tuple[str, str]]:
    """What stands beside nothing that serves."""
    live = {item.name for item in s.workloads if item.revision == s.status.active_revision}
    return [(item.kind, item.name) for item in s.companions or () if item.name not in live]


def _beside(s: Snapshot, revision: Revision, hold: Hold, active: Revision | None) -> Acting | None:
    """`active`: the other colour, whose users this one may have to take back."""
    if s.companions is None or revision.adopted is not None:
        return None
    for component in revision.spec.components:
        workload = s.workload(component.name, revision.hash)
        if workload is None:
            continue
        for kind in KINDS:
            asked = asked_for(s, revision, component.name, kind)
            found = standing(s, kind, workload.name)
            if asked is None:
                if found is not None:
                    return _removed(s, found)
                continue
            if found is None and workload.replicas == 0:
                # Nothing to be scaled or kept from a drain yet.
                continue
            size = standby_replicas(s, component.name, active, revision) if active is not None else 0
            wanted = _held_at(asked, hold, size, workload) if kind == AUTOSCALER else asked
            deployment = render_deployment(
                s.name, s.namespace, revision, component, colour=workload.colour, replicas=0
            )
            if found is None:
                created = manifest(kind, deployment, asked, inert(kind, asked), s.epoch)
                return _written(kind, workload, CreateObject(created), "created, to do nothing yet")
            written = manifest(kind, deployment, asked, wanted, s.epoch)
            if found.digest != written["metadata"]["annotations"][names.ANNOTATION_DIGEST]:
                how = str(hold if kind == AUTOSCALER else Hold.FREE)
                return _written(
                    kind, workload, RewriteObject(written, found.resource_version, found.spec), how
                )
    return None


def _written(kind: str, workload: Workload, effect: Effect, how: str) -> Acting:
    return Acting(
        effect, _REASONS.get(kind, Reason.BUDGETING), f"{kind} of {workload.name} {how}", {"sized": True}
    )


def _removed(s: Snapshot, found: Companion) -> Acting:
    return Acting(
        delete(s, [(found.kind, found.name)]),
        _REASONS.get(found.kind, Reason.BUDGETING),
        f"removing {found.kind} {found.name}: spec.components[{found.component}].{FIELDS[found.kind]} is gone",
    )


def _held_at(asked: Asked, hold: Hold, size: int, workload: Workload) -> Asked:
    """`size`: what this colour may have to grow to for the other's users, 0 for none."""
    given: Mapping[str, Any] = asked.get("behavior") or {}
    up, down = given.get("scaleUp") or {}, given.get("scaleDown") or {}
    # Said always: what the API server fills in beside a word of ours would stay when that word is taken away.
    up, down = {"selectPolicy": _MOST, **up}, {"selectPolicy": _MOST, **down}
    if hold is Hold.FREE:
        return {**asked, "behavior": {**given, "scaleUp": up, "scaleDown": down}}
    down = {**down, "selectPolicy": _NONE}
    most = max(asked["maxReplicas"], size)
    if hold is Hold.GROWING:
        return {**asked, "maxReplicas": most, "behavior": {**given, "scaleUp": up, "scaleDown": down}}
    # An autoscaler keeps its bounds whatever its policies say: they are set beyond what shedding makes of the colour.
    still = {**given, "scaleUp": {**up, "selectPolicy": _NONE}, "scaleDown": down}
    return {
        **asked,
        "minReplicas": 1,
        "maxReplicas": max(most, 2 * size, workload.replicas),
        "behavior": still,
    }


def _followed(context: Context) -> Acting | None:
    """What serves grew since the candidate was brought up."""
    s, to = context.s, context.to
    if context.from_ is None:
        return None
    for component in served_components(to):
        workload = s.workload(component.name, to.hash)
        if workload is None or not _autoscaled(s, component.name, (to, context.from_)):
            continue
        wanted = wanted_replicas(s, component.name, to, context.from_)
        if workload.replicas < wanted:
            said = f"scaling {workload.name} to {wanted}, as what serves was scaled"
            return Acting(scale(workload, wanted), Reason.CREATING_GREEN, said)
    return None


def _autoscaled(s: Snapshot, component: str, revisions: Iterable[Revision]) -> bool:
    return any(bounds(s, revision, component) is not None for revision in revisions)
