"""What the demo promises, held against what was seen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from conductor.cli.style import Style, lasting
from conductor.cli.view import UPGRADE_PHASES
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.releases import Upgrade

NEW_CONNECTION_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 10.0
ROLLBACK_SECONDS = 120.0
LEAST_POSTS = 0.30
NOT_TRIED = "not tried"
#: Every phase of an upgrade with migrations; without a ramp traffic moves in one go.
ALL_PHASES = tuple(name for name in UPGRADE_PHASES if name != "Ramping")
FIRST, GOOD, BAD, SLOW = "1.0.0", "1.1.0", "1.2.0-bad", "1.2.1-slow"


@dataclass(frozen=True)
class Evidence:
    """Everything that was seen: the upgrades as they ended, the users' report, and what serves at the end.

    An upgrade is None where the one before it ended in another way than it was meant to.
    """

    good: Upgrade | None
    bad: Upgrade | None
    slow: Upgrade | None
    users: LoadSummary
    serving: str


@dataclass(frozen=True)
class Promise:
    """One promise: whether it was kept, and what was seen."""

    says: str
    kept: bool
    saw: str


def promises(seen: Evidence) -> list[Promise]:
    return [*user_promises(seen.users), good_promise(seen.good), bad_promise(seen), *slow_promises(seen)]


def user_promises(users: LoadSummary) -> list[Promise]:
    writes = users.writes
    posts = users.creates / users.requests if users.requests else 0.0
    lost = writes.missing or writes.duplicates or writes.error
    return [
        Promise(
            "no request failed",
            users.failures == 0 and users.requests > 0,
            f"{users.failures:,} of {users.requests:,}",
        ),
        Promise(f"at least {LEAST_POSTS:.0%} of them were writes", posts >= LEAST_POSTS, f"{posts:.0%}"),
        Promise(
            "every acknowledged id was found exactly once",
            writes.verified and not lost and writes.acknowledged > 0,
            found_once(users),
        ),
    ]


def found_once(users: LoadSummary) -> str:
    writes = users.writes
    if writes.error or not writes.verified:
        return f"not looked up: {writes.error or 'nobody asked'}"
    return f"{writes.acknowledged - writes.missing - writes.duplicates:,} of {writes.acknowledged:,}"


def good_promise(good: Upgrade | None) -> Promise:
    says = f"{GOOD} went through all phases"
    if good is None:
        return Promise(says, False, NOT_TRIED)
    entered = {entry.phase for entry in good.timeline}
    missed = [name for name in ALL_PHASES if name not in entered]
    if good.outcome != "Succeeded":
        return Promise(says, False, f"{good.outcome}: {good.reason}")
    return Promise(says, not missed, f"without {', '.join(missed)}" if missed else lasting(whole(good)))


def bad_promise(seen: Evidence) -> Promise:
    says, bad = f"{BAD} was refused before a user met it", seen.bad
    if bad is None:
        return Promise(says, False, NOT_TRIED)
    met = answers(seen.users, BAD)
    kept = bad.outcome == "Refused" and met == 0 and bad.switched_at is None
    return Promise(says, kept, f"{bad.outcome}, {met:,} answers")


def slow_promises(seen: Evidence) -> list[Promise]:
    slow, met = seen.slow, answers(seen.users, SLOW)
    decided = slow.decided_at if slow else None
    took = span(decided, slow.switched_back_at if slow else None)
    back = slow is not None and slow.outcome == "RolledBack" and seen.serving == GOOD
    saw = f"{slow.outcome}, {met:,} answers" if slow else NOT_TRIED
    found = [
        Promise(
            f"{SLOW} was rolled back after users met it",
            back and met > 0,
            saw if back or slow is None else f"{slow.outcome}, {seen.serving} serves",
        ),
        Promise(
            f"its rollback took less than {ROLLBACK_SECONDS:.0f} s",
            took is not None and took < ROLLBACK_SECONDS,
            "no rollback" if took is None else milliseconds(took),
        ),
    ]
    for client, limit, who in (
        (ONE_SHOT, NEW_CONNECTION_SECONDS, "new connections"),
        (KEEP_ALIVE, KEEP_ALIVE_SECONDS, "keep-alive clients"),
    ):
        last = span(decided, seen.users.last_answer(SLOW, client))
        # Shedding starts with new connections; a rollback may come before a kept one has moved.
        never_met = decided is not None and met > 0 and last is None
        saw = "never met it" if never_met else "no answer" if last is None else after(last)
        kept = never_met or (last is not None and last <= limit)
        found.append(Promise(f"{who} left it within {limit:.0f} s", kept, saw))
    return found


def kept_all(found: Sequence[Promise]) -> bool:
    return all(promise.kept for promise in found)


def answers(users: LoadSummary, version: str) -> int:
    """How many answers of this version users got; failures with its name count as well."""
    report = users.versions.get(version)
    return report.answers + report.failures if report else 0


def whole(upgrade: Upgrade) -> float:
    return (upgrade.ended_at - upgrade.started_at).total_seconds()


def span(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def after(seconds: float) -> str:
    """A length of time that may be below zero: then the last answer came before."""
    if seconds < 0:
        return f"{lasting(-seconds)} before"
    return f"{seconds:.2f} s" if seconds < 10 else lasting(seconds)


def milliseconds(seconds: float) -> str:
    """Short times are told in milliseconds: that is what they are measured in."""
    return f"{1000 * seconds:,.0f} ms" if seconds < 10 else lasting(seconds)


def promise_lines(found: Sequence[Promise], style: Style) -> list[str]:
    width = max(len(promise.says) for promise in found) + 2
    return [
        f"  {style.mark('good' if promise.kept else 'bad')} {promise.says:<{width}}"
        f"{promise.saw if promise.kept else style.paint('bad', promise.saw)}"
        for promise in found
    ]
