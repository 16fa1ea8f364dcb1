"""The timeline of an upgrade: which phase it entered when, and until when it may be there."""

from datetime import datetime
from typing import Any

from conductor.api.status import Phase, ReleaseStatus, TimelineEntry
from conductor.domain.snapshot import Snapshot

_LIMIT = 40


def enter(s: Snapshot, status: ReleaseStatus, phase: Phase) -> ReleaseStatus:
    """The status as it is in a phase that begins now."""
    upgrade = status.upgrade
    if upgrade is None:
        return status.model_copy(update={"phase": phase})
    timeline = (*closed(upgrade.timeline, s.now), TimelineEntry(phase=phase, started_at=s.now))
    update: dict[str, Any] = {
        "phase_started_at": s.now,
        "timeline": timeline[-_LIMIT:],
        "deadline": _deadline(s, phase),
        "paused_at": None,
        "attempt": 1,
    }
    return status.model_copy(update={"phase": phase, "upgrade": upgrade.model_copy(update=update)})


def _deadline(s: Snapshot, phase: Phase) -> datetime | None:
    spec = s.spec or (s.active.spec if s.active else None)
    if spec is None:
        return None
    limits = spec.deadlines
    allowed = {
        Phase.EXPANDING: limits.migrate,
        Phase.MIGRATING: limits.migrate,
        Phase.BRINGING_UP: limits.bring_up,
        Phase.VERIFYING: limits.verify,
        Phase.RAMPING: limits.ramp,
        # Until users are led to what was brought up; their proof has a patience of its own.
        Phase.SWITCHING: limits.bring_up,
        Phase.ROLLING_BACK: limits.rollback,
    }.get(phase)
    return s.now + allowed if allowed is not None else None


def closed(timeline: tuple[TimelineEntry, ...], now: datetime) -> tuple[TimelineEntry, ...]:
    """The timeline with its last entry ended."""
    return tuple(
        entry if entry.ended_at is not None else entry.model_copy(update={"ended_at": now})
        for entry in timeline
    )
