"""Conditions: one table from phase to all of them, so that every tool that waits reads the same thing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from conductor.api.reasons import Reason
from conductor.api.status import (
    Condition,
    ContractState,
    Phase,
    ReleaseStatus,
    Verdict,
    VerdictStatus,
    format_instant,
)

_WINDOW_OPEN = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING})
_MOVING = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.ROLLING_BACK})
_BEFORE_MIGRATED = frozenset(
    {Phase.BOOTSTRAPPING, Phase.PREFLIGHT, Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING}
)
_HEALTH: dict[Verdict, Literal["True", "False", "Unknown"]] = {
    Verdict.HEALTHY: "True",
    Verdict.UNHEALTHY: "False",
    Verdict.NO_DATA: "Unknown",
    Verdict.ERROR: "Unknown",
}


def conditions(
    status: ReleaseStatus,
    *,
    generation: int,
    stalled: bool,
    rejected: bool,
    behind: bool,
    unread: str,
    now: datetime,
) -> tuple[Condition, ...]:
    """All conditions for what the status now says; times move only where a status does.

    `behind`: the spec asks for another revision than the one that serves, so that it is not ready yet.
    `unread`: what is wrong with a spec that cannot be read while something else goes on.
    """
    upgrade = status.upgrade
    settled = status.phase is Phase.STABLE and upgrade is None
    reason, message = status.reason or Reason.STARTED, status.message
    busy = upgrade is not None or behind or status.phase is Phase.CONTRACTING
    moving = busy and not (stalled or rejected or unread)
    verdict = upgrade.last_verdict if upgrade else None
    applied, applied_reason = _migrations(status)
    unserved = settled and reason == Reason.ACTIVE_NOT_SERVING
    wanted: list[tuple[str, Literal["True", "False", "Unknown"], str, str]] = [
        ("Ready", _flag(settled and not (stalled or rejected or behind or unserved)), reason, message),
        ("Reconciling", _flag(moving), reason, message if moving else ""),
        _stalled(status, held=stalled or rejected, unread=unread),
        ("Healthy", *_healthy(verdict, settled=settled, unserved=message if unserved else "")),
        (
            "TrafficConverged",
            _flag(status.traffic.current is not None and status.phase not in _MOVING),
            str(status.phase),
            f"{status.traffic.current} serves" if status.traffic.current else "no Service yet",
        ),
        (
            "MigrationsApplied",
            applied,
            applied_reason,
            status.migrations.message if status.migrations else "",
        ),
        ("RollbackWindowOpen", _flag(status.phase in _WINDOW_OPEN), str(status.phase), ""),
    ]
    return tuple(
        Condition(
            type=type_,
            status=flag,
            reason=reason_,
            message=message_,
            observed_generation=generation,
            last_transition_time=_moved_at(status.condition(type_), flag) or now,
        )
        for type_, flag, reason_, message_ in wanted
    )


def held(
    former: Sequence[Mapping[str, Any]], why: str, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Conditions of a release that is held still because its status cannot be read; those of others stay.

    Taken and given as they are stored: nothing else of such a status may be written again.
    """
    wanted: tuple[tuple[str, Literal["True", "False"], str], ...] = (
        ("Ready", "False", why),
        ("Reconciling", "False", ""),
        ("Stalled", "True", why),
    )
    by_type = {str(condition.get("type")): dict(condition) for condition in former}
    for type_, flag, message in wanted:
        before = by_type.get(type_, {})
        moved_at = before.get("lastTransitionTime") if before.get("status") == flag else None
        by_type[type_] = {
            "type": type_,
            "status": flag,
            "reason": str(Reason.NEWER_STATUS),
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": moved_at or format_instant(now),
        }
    return list(by_type.values())


def _stalled(
    status: ReleaseStatus, *, held: bool, unread: str
) -> tuple[str, Literal["True", "False", "Unknown"], str, str]:
    if held or not unread:
        return "Stalled", _flag(held), status.reason or Reason.STARTED, status.message if held else ""
    return "Stalled", "True", Reason.INVALID_SPEC, unread


def _healthy(
    verdict: VerdictStatus | None, *, settled: bool, unserved: str
) -> tuple[Literal["True", "False", "Unknown"], str, str]:
    if verdict is not None:
        return _HEALTH[verdict.verdict], str(verdict.verdict), verdict.message
    if unserved:
        return "False", Reason.ACTIVE_NOT_SERVING, unserved
    return ("True", "LastVerdict", "") if settled else ("Unknown", "NotJudgedYet", "")


def _migrations(status: ReleaseStatus) -> tuple[Literal["True", "False", "Unknown"], str]:
    if status.phase in _BEFORE_MIGRATED:
        return "Unknown", str(status.phase)
    if status.pending_contract is not None:
        waits = status.reason == Reason.SESSIONS_UNPROVEN
        return "True", Reason.SESSIONS_UNPROVEN if waits else Reason.CONTRACT_PENDING
    if status.pending_backout is not None:
        failed = status.pending_backout.state is ContractState.FAILED
        return "True", Reason.BACKOUT_FAILED if failed else Reason.BACKOUT_PENDING
    if status.migrations is None:
        return "True", "NotApplicable"
    return "True", status.migrations.state.capitalize() or "NotApplicable"


def _flag(value: bool) -> Literal["True", "False"]:
    return "True" if value else "False"


def _moved_at(former: Condition | None, flag: str) -> datetime | None:
    return former.last_transition_time if former and former.status == flag else None
