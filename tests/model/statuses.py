"""Statuses as states: real ReleaseStatus objects, with times reduced to the relations that decisions use.

A time is new, settled (proxies and holds are over) or late (every patience is over); a deadline lies ahead or
behind. What is written for people only (messages, conditions, the timeline, the last verdict) is forgotten;
`test_model` shows on real decisions that nothing is decided upon it.
"""

from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from conductor.api.status import LastUpgrade, Phase, ReleaseStatus, TimelineEntry, UpgradeStatus

_Said = TypeVar("_Said", bound=BaseModel)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
#: What an object's version is called when it is read: a Service's that moved since we last decided to switch it, and
#: that of all else. A write that names another one was not made on what was read.
VERSION, MOVED_VERSION = "7", "8"
#: A little before now, so that a time that was just written differs from one that was written a moment ago.
NEW = NOW - timedelta(milliseconds=100)
SETTLED = NOW - timedelta(seconds=5)
LATE = NOW - timedelta(hours=3)
AHEAD, BEHIND = NOW + timedelta(hours=1), NOW - timedelta(hours=2)
#: More than proxies need and less than any patience.
_SETTLED_AFTER = timedelta(seconds=1.5)
_LATE_AFTER = timedelta(seconds=15)
_NESTED = (BaseModel, tuple, dict)
#: Written for people and machines outside; nothing is decided upon it. What is not named here is kept.
_TOLD = {
    "observed_generation": 1,
    "reason": "",
    "message": "",
    "conditions": (),
    "receipts": None,
}
_TOLD_OF_UPGRADE = {
    "started_at": LATE,
    "healthy_since": None,
    "last_verdict": None,
    "intent": None,
}
#: Times for which nothing ends within seconds, and times for which nothing ends later than that.
_PATIENT = frozenset({"phase_started_at", "decided_at"})
_BRIEF = frozenset({"switched_back_at"})
#: Phases in which the time of the switch still says something, and those in which the phase's own does.
_SWITCH_TIME_COUNTS = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING})
_PHASE_TIME_COUNTS = frozenset({Phase.CLOSING})


class Statuses:
    """Canonical statuses by number; a state carries the number."""

    def __init__(self, *, migrations: bool = False) -> None:
        self._migrations = migrations
        self._known: list[ReleaseStatus] = []
        self._number: dict[Hashable, int] = {}
        self._aged: dict[tuple[int, bool], int] = {}

    def __getitem__(self, number: int) -> ReleaseStatus:
        return self._known[number]

    def number(self, status: ReleaseStatus) -> int:
        """The number of what remains of this status. Its epoch is 1 where the present leader wrote it, else 0."""
        canonical = _canonical(status, self._migrations)
        key = _key(canonical)
        found = self._number.get(key)
        if found is None:
            found = len(self._known)
            self._known.append(canonical)
            self._number[key] = found
        return found

    def aged(self, number: int, late: bool) -> int:
        """The same status a few seconds, or hours, later."""
        key = (number, late)
        if key not in self._aged:
            self._aged[key] = self.number(_aged(self._known[number], late))
        return self._aged[key]

    def is_late(self, number: int) -> bool:
        """Whether every patience of the upgrade under way is over."""
        return self._known[number].upgrade is not None and self.aged(number, late=True) == number

    def deposed(self, number: int) -> int:
        """The same status as a newer leader finds it: under an older epoch."""
        return self.number(self._known[number].model_copy(update={"epoch": 0}))


def _canonical(status: ReleaseStatus, migrations: bool) -> ReleaseStatus:
    # A switch was decided on the versions that were read then, whatever they were called.
    intended = dict.fromkeys(status.traffic.intended, VERSION)
    told: dict[str, Any] = {"switched_at": None, "converged_at": None, "intended": intended}
    traffic = status.traffic.model_copy(update=told)
    return status.model_copy(
        update={
            **_TOLD,
            "traffic": traffic,
            "upgrade": _upgrade(status.upgrade, status.phase, migrations) if status.upgrade else None,
            "last_upgrade": _last(status.last_upgrade) if status.last_upgrade else None,
            "migrations": _wordless(status.migrations),
            "pending_contract": _wordless(status.pending_contract),
            "pending_backout": _wordless(status.pending_backout),
        }
    )


def _upgrade(upgrade: UpgradeStatus, phase: Phase, migrations: bool) -> UpgradeStatus:
    update: dict[str, Any] = {
        name: _age_of(name, value) for name, value in upgrade.__dict__.items() if isinstance(value, datetime)
    }
    if phase not in _PHASE_TIME_COUNTS:
        update["phase_started_at"] = SETTLED
    if migrations and phase is Phase.EXPANDING and upgrade.from_revision and upgrade.active_before is None:
        # For so long the expand step waits to hear how the active colour does.
        update["phase_started_at"] = max(SETTLED, _age(upgrade.phase_started_at))
    if upgrade.switched_at is not None and phase not in _SWITCH_TIME_COUNTS:
        update["switched_at"] = LATE
    # While a pause holds the upgrade, its clock stands.
    clock = upgrade.paused_at or NOW
    if upgrade.deadline is not None:
        update["deadline"] = AHEAD if upgrade.deadline > clock else BEHIND
    if upgrade.paused_at is not None:
        update["paused_at"] = NEW
    update |= {**_TOLD_OF_UPGRADE, "failure": _wordless(upgrade.failure), "timeline": _phases(upgrade)}
    return upgrade.model_copy(update=update)


def _phases(upgrade: UpgradeStatus) -> tuple[TimelineEntry, ...]:
    """Which phases the upgrade was in, without when and how often."""
    return tuple(
        TimelineEntry(phase=phase, started_at=LATE, ended_at=LATE)
        for phase in sorted({entry.phase for entry in upgrade.timeline})
    )


def _last(last: LastUpgrade) -> LastUpgrade:
    told = {"started_at": LATE, "ended_at": LATE, "message": "", "timeline": ()}
    times = ("decided_at", "switched_at", "switched_back_at")
    return last.model_copy(update={**told, **dict.fromkeys(times)})


def _wordless(said: _Said | None) -> _Said | None:
    return None if said is None else said.model_copy(update={"message": ""})


def _age_of(name: str, moment: datetime) -> datetime:
    age = _age(moment)
    if age == NEW and name in _PATIENT:
        return SETTLED
    return SETTLED if age == LATE and name in _BRIEF else age


def _age(moment: datetime) -> datetime:
    ago = NOW - moment
    return LATE if ago >= _LATE_AFTER else SETTLED if ago >= _SETTLED_AFTER else NEW


def _aged(status: ReleaseStatus, late: bool) -> ReleaseStatus:
    upgrade = status.upgrade
    if upgrade is None:
        return status
    least = LATE if late else SETTLED
    update = {
        name: min(value, least)
        for name, value in upgrade.__dict__.items()
        if isinstance(value, datetime) and name not in ("deadline", "paused_at")
    }
    if late and upgrade.deadline is not None and upgrade.paused_at is None:
        update["deadline"] = BEHIND
    return status.model_copy(update={"upgrade": upgrade.model_copy(update=update)})


def _key(value: Any) -> Hashable:
    """A status as a key, whatever it holds."""
    if isinstance(value, BaseModel):
        value = tuple(value.__dict__.values())
    if isinstance(value, tuple):
        return tuple([_key(part) if isinstance(part, _NESTED) else part for part in value])
    assert isinstance(value, dict), f"{value!r} is nothing that a status holds"
    return tuple(sorted(value.items()))
