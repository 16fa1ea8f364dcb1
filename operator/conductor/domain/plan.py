"""plan(snapshot, situation) -> plan: the status to write first, the one effect to make then, when to wake."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import (
    ContractState,
    Failure,
    Intent,
    LastUpgrade,
    MigrationsStatus,
    Outcome,
    Phase,
    ReleaseStatus,
    TrafficStatus,
    UpgradeStatus,
    VerdictStatus,
)
from conductor.domain.colours import all_on, shared
from conductor.domain.conditions import conditions
from conductor.domain.dispute import intentions, through_claim
from conductor.domain.effects import ClaimObjects, Effect, SwitchServices
from conductor.domain.situation import (
    Acting,
    Advancing,
    Ending,
    Failing,
    Recognising,
    Refusing,
    Rejecting,
    Situation,
    Starting,
    Waiting,
)
from conductor.domain.snapshot import Snapshot
from conductor.domain.standing import standing_colour
from conductor.domain.timeline import closed, enter
from conductor.domain.traffic.choice import still_in_hand

#: An unchanged verdict is written again only this often: samples come every two seconds.
_VERDICT_REFRESH = timedelta(seconds=30)
_WARNED = frozenset(
    {
        Reason.JOB_POD_MISSING,
        Reason.NO_DATA,
        Reason.PROMETHEUS_ERROR,
        Reason.RECEIPTS_NOT_KEPT,
        Reason.STANDBY_EDITED,
        Reason.ACTIVE_NOT_SERVING,
        Reason.NOT_YET_STRICT,
        Reason.PREVIEW_LEFT_OUT,
        Reason.GATEWAY_NOT_ASKED,
        Reason.IMAGE_NOT_EVERYWHERE,
    }
)
#: Words for a release at rest whose spec asks for what is there: no failure is to be remembered then.
_SERVES_WHAT_IS_ASKED_FOR = frozenset(
    {
        Reason.STABLE,
        Reason.CONTRACT_PENDING,
        Reason.SESSIONS_UNPROVEN,
        Reason.BACKOUT_PENDING,
        Reason.ACTIVE_NOT_SERVING,
    }
)
_COMMANDS_LIMIT = 20


@dataclass(frozen=True)
class Announcement:
    """An Event to be shown in `kubectl describe`."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Plan:
    """What this pass does, in this order: write `status` (where it changed), announce, make `effect`."""

    status: ReleaseStatus
    effect: Effect | None = None
    wake_at: datetime | None = None
    again: bool = False
    announcements: tuple[Announcement, ...] = ()


def plan(s: Snapshot, situation: Situation) -> Plan:
    """From a situation to what is done about it."""
    match situation:
        case Waiting():
            return _wait(s, situation)
        case Acting():
            return _act(s, situation)
        case Advancing():
            return _advance(s, situation)
        case Starting():
            return _start(s, situation)
        case Recognising():
            return _recognise(s, situation)
        case Failing():
            return _fail(s, situation)
        case Ending():
            return _end(s, situation)
        case Rejecting():
            return _reject(s, situation)
        case Refusing():
            return _refuse(s, situation)


def _wait(s: Snapshot, situation: Waiting) -> Plan:
    status = _with_upgrade(s.status, situation.changes)
    phase = status.phase
    if s.status.upgrade is None and s.status.active_revision:
        pending = status.pending_contract
        committed = pending is not None and pending.state is ContractState.COMMITTED
        phase = Phase.CONTRACTING if committed else Phase.STABLE
    if status.upgrade is None and not s.deleting:
        status = _with_upgrade(status, {"routes": still_in_hand(s)})
    failed = status.failed_digest
    if situation.reason in _SERVES_WHAT_IS_ASKED_FOR and status.upgrade is None:
        failed = ""
    status = status.model_copy(
        update={
            "phase": phase,
            "reason": situation.reason,
            "message": situation.message,
            "failed_digest": failed,
        }
    )
    warned = situation.stalled or situation.reason in _WARNED
    before = s.status.condition("Stalled")
    # A wait that turns out to need a person keeps its reason.
    news = s.status.reason != situation.reason or (situation.stalled and before and before.status != "True")
    shown = (Announcement(situation.reason, situation.message, warned),) if news and warned else ()
    return _finish(s, status, stalled=situation.stalled, wake_at=situation.until, announcements=shown)


def _act(s: Snapshot, situation: Acting) -> Plan:
    changes = dict(situation.changes)
    changes["intent"] = Intent(effect=situation.effect.name, subject=situation.effect.subject[:250], at=s.now)
    reversions = changes.pop("reversions", s.status.traffic.reversions)
    status = _with_upgrade(s.status, changes)
    update: dict[str, Any] = {"reversions": reversions}
    if isinstance(situation.effect, SwitchServices):
        update["intended"] = intentions(situation.effect)
    if isinstance(situation.effect, ClaimObjects):
        update["intended"] = through_claim(s, situation.effect)
    traffic = status.traffic.model_copy(update=update)
    status = status.model_copy(
        update={"reason": situation.reason, "message": situation.message, "traffic": traffic}
    )
    news = s.status.message != situation.message
    warned = situation.reason in (Reason.TRAFFIC_REVERTED, Reason.ADOPTED_RETURNED)
    shown = (Announcement(situation.reason, situation.message, warned),) if news else ()
    return _finish(s, status, effect=situation.effect, again=True, announcements=shown)


def _advance(s: Snapshot, situation: Advancing) -> Plan:
    status = _with_upgrade(s.status, situation.changes)
    if situation.phase is not s.status.phase:
        status = enter(s, status, situation.phase)
    status = status.model_copy(update={"reason": situation.reason, "message": situation.message})
    if status.upgrade is not None and (situation.phase is Phase.SOAKING or status.upgrade.stays):
        status = _converged(s, status, status.upgrade)
    warned = situation.reason in _WARNED
    shown = Announcement(situation.reason, f"{situation.phase}: {situation.message}", warned)
    return _finish(s, status, again=True, announcements=(shown,))


def _start(s: Snapshot, situation: Starting) -> Plan:
    sequence = s.status.sequence + 1
    serving = s.status.traffic.current
    first = standing_colour(s, situation.revision) or (s.spec.traffic.current if s.spec else Colour.BLUE)
    upgrade = UpgradeStatus(
        id=upgrade_id(s.uid, sequence),
        sequence=sequence,
        from_=s.status.active_version,
        to=situation.version,
        from_revision=s.status.active_revision,
        to_revision=situation.revision,
        from_colour=serving,
        to_colour=serving.other if serving else first,
        started_at=s.now,
        phase_started_at=s.now,
    )
    status = s.status.model_copy(
        update={
            "sequence": sequence,
            "upgrade": upgrade,
            "candidate_revision": situation.revision,
            "failed_digest": "",
            "migrations": None,
            "traffic": s.status.traffic.model_copy(update={"reversions": 0, "intended": {}}),
            "reason": Reason.STARTED,
            "message": situation.message,
        }
    )
    status = enter(s, status, situation.phase)
    return _finish(s, status, again=True, announcements=(Announcement(Reason.STARTED, situation.message),))


def _recognise(s: Snapshot, situation: Recognising) -> Plan:
    status = s.status.model_copy(
        update={
            "phase": Phase.STABLE if situation.revision else Phase.PENDING,
            "active_revision": situation.revision,
            "active_version": situation.version,
            "last_good_revision": situation.revision,
            "standby_revision": "",
            # What was refused until now may have been refused for want of consent.
            "failed_digest": "" if situation.revision else s.status.failed_digest,
            "traffic": all_on(s, situation.colour) if situation.colour else TrafficStatus(),
            "reason": situation.reason,
            "message": situation.message,
        }
    )
    return _finish(s, status, again=True, announcements=(Announcement(situation.reason, situation.message),))


def _fail(s: Snapshot, situation: Failing) -> Plan:
    upgrade = s.status.upgrade
    if upgrade is None:
        return _reject(s, Rejecting(situation.reason, situation.message))
    back = Phase.ROLLING_BACK if upgrade.took_traffic else Phase.BACKING_OUT
    failure = Failure(reason=situation.reason, message=situation.message, outcome=situation.outcome)
    changes = {**situation.changes, "failure": failure, "decided_at": s.now}
    status = enter(s, _with_upgrade(s.status, changes), back)
    status = status.model_copy(update={"reason": situation.reason, "message": situation.message})
    shown = Announcement(situation.reason, situation.message, warning=True)
    return _finish(s, status, again=True, announcements=(shown,))


def _end(s: Snapshot, situation: Ending) -> Plan:
    upgrade = s.status.upgrade
    if upgrade is None:
        return _finish(s, s.status)
    succeeded = situation.outcome is Outcome.SUCCEEDED
    last = LastUpgrade(
        id=upgrade.id,
        from_=upgrade.from_,
        to=upgrade.to,
        outcome=situation.outcome,
        reason=situation.reason,
        message=situation.message,
        started_at=upgrade.started_at,
        ended_at=s.now,
        decided_at=upgrade.decided_at,
        switched_at=upgrade.switched_at,
        switched_back_at=upgrade.switched_back_at,
        timeline=closed(upgrade.timeline, s.now),
    )
    remembered = situation.outcome is not Outcome.ABORTED or s.digest == upgrade.to_revision
    settled = Phase.STABLE if succeeded or upgrade.from_revision else Phase.PENDING
    update: dict[str, Any] = {
        "phase": settled,
        "reason": situation.reason,
        "message": situation.message,
        "upgrade": None,
        "candidate_revision": "",
        "last_upgrade": last,
        "failed_digest": upgrade.to_revision if remembered and not succeeded else "",
    }
    if not succeeded and upgrade.from_revision:
        colour = upgrade.from_colour
        update |= {
            "active_revision": upgrade.from_revision,
            "active_version": upgrade.from_,
            "standby_revision": "",
            "traffic": all_on(s, colour) if colour else s.status.traffic,
        }
    if succeeded:
        update["last_good_revision"] = upgrade.to_revision
    status = _with_upgrade(s.status, situation.changes).model_copy(update=update)
    shown = Announcement(situation.reason, situation.message, warning=not succeeded)
    return _finish(s, status, again=True, announcements=(shown,))


def _reject(s: Snapshot, situation: Rejecting) -> Plan:
    news = s.status.message != situation.message
    status = s.status.model_copy(update={"reason": situation.reason, "message": situation.message})
    shown = (Announcement(situation.reason, situation.message, warning=True),) if news else ()
    return _finish(s, status, rejected=True, announcements=shown)


def _refuse(s: Snapshot, situation: Refusing) -> Plan:
    answered = (*s.status.handled_commands, situation.command)[-_COMMANDS_LIMIT:]
    status = s.status.model_copy(update={"handled_commands": answered})
    shown = Announcement(situation.reason, situation.message, warning=True)
    return _finish(s, status, again=True, announcements=(shown,))


def upgrade_id(uid: str, sequence: int) -> str:
    """Short, deterministic and never used twice for one release."""
    return "u" + hashlib.sha256(f"{uid}/{sequence}".encode()).hexdigest()[:8]


def _with_upgrade(status: ReleaseStatus, changes: dict[str, Any]) -> ReleaseStatus:
    changes = dict(changes)
    update: dict[str, Any] = {}
    migrations = changes.pop("migrations", None)
    if isinstance(migrations, MigrationsStatus):
        after = migrations.contracted_after
        # It outlives what the next Job says.
        update |= {"contracted_after": after} if after is not None else {}
        update["migrations"] = migrations.model_copy(update={"contracted_after": None})
    for key in ("schema_floor", "pending_contract", "pending_backout", "fenced_login", "sized"):
        if key in changes:
            update[key] = changes.pop(key)
    routes = changes.pop("routes", None)
    serving = changes.pop("serving", None)
    if serving is not None:
        update["traffic"] = shared(status, serving, 100).model_copy(update={"current": serving})
    if "green_share" in changes and status.upgrade is not None:
        update["traffic"] = shared(status, status.upgrade.to_colour, changes.pop("green_share"))
    if routes is not None:
        update["traffic"] = update.get("traffic", status.traffic).model_copy(update={"routes": routes})
    if status.upgrade is not None and changes:
        verdict = changes.get("last_verdict")
        former = status.upgrade.last_verdict
        if isinstance(verdict, VerdictStatus) and former is not None and _same_news(former, verdict):
            changes["last_verdict"] = former
        update["upgrade"] = status.upgrade.model_copy(update=changes)
    return status.model_copy(update=update)


def _same_news(former: VerdictStatus, verdict: VerdictStatus) -> bool:
    return former.verdict is verdict.verdict and verdict.at - former.at < _VERDICT_REFRESH


def _converged(s: Snapshot, status: ReleaseStatus, upgrade: UpgradeStatus) -> ReleaseStatus:
    return status.model_copy(
        update={
            "traffic": all_on(s, upgrade.to_colour).model_copy(update={"switched_at": upgrade.switched_at}),
            "active_revision": upgrade.to_revision,
            "active_version": upgrade.to,
            "standby_revision": upgrade.from_revision,
        }
    )


def _finish(
    s: Snapshot,
    status: ReleaseStatus,
    *,
    stalled: bool = False,
    rejected: bool = False,
    effect: Effect | None = None,
    wake_at: datetime | None = None,
    again: bool = False,
    announcements: tuple[Announcement, ...] = (),
) -> Plan:
    # The epoch stands on the release once everything else carries it, and not at all while nothing is decided.
    claimed = not isinstance(effect, ClaimObjects) and (status.upgrade is not None or effect is not None)
    epoch = s.epoch if claimed else s.status.epoch
    status = status.model_copy(update={"epoch": epoch, "observed_generation": s.generation})
    unread = "; ".join(str(finding) for finding in s.findings[:3]) if s.spec is None and not rejected else ""
    status = status.model_copy(
        update={
            "conditions": conditions(
                status,
                generation=s.generation,
                stalled=stalled,
                rejected=rejected,
                behind=_behind(s, status),
                unread=unread,
                now=s.now,
            )
        }
    )
    if unread and s.generation != s.status.observed_generation:
        announcements = (*announcements, Announcement(Reason.INVALID_SPEC, unread, warning=True))
    return Plan(status, effect, wake_at, again, announcements)


def _behind(s: Snapshot, status: ReleaseStatus) -> bool:
    """Whether another revision serves than the spec asks for, or the spec cannot be read.

    The generation is already observed then, and whoever waits for Ready must not be told that it is.
    """
    return s.spec is None or status.active_revision != (s.spec.rollback_to or s.digest)
