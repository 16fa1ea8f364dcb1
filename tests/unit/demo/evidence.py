"""Evidence of a demo in which everything went as promised, for tests to spoil."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from demo.promises import BAD, FIRST, GOOD, SLOW, Evidence

from harness.load_summary import KEEP_ALIVE, ONE_SHOT, Answers, Latency, LoadSummary, VersionReport, Writes
from harness.releases import PhaseTime, Upgrade

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LATENCY = Latency({5.0: 900, 40.0: 90, 1100.0: 10}, 1090.0)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def phases(begin: float, *named: tuple[str, float]) -> tuple[PhaseTime, ...]:
    """A timeline of phases one after the other, each with its length."""
    found = []
    for name, seconds in named:
        found.append(PhaseTime(name, at(begin), at(begin + seconds)))
        begin += seconds
    return tuple(found)


def report(answers: int, one_shot_last: float, keep_alive_last: float) -> VersionReport:
    half = answers // 2
    seen = {
        ONE_SHOT: Answers(half, at(0), at(one_shot_last), at(one_shot_last)),
        KEEP_ALIVE: Answers(answers - half, at(0), at(keep_alive_last), at(keep_alive_last)),
    }
    return VersionReport(answers, 0, seen, LATENCY)


def users() -> LoadSummary:
    return LoadSummary(
        loop="closed with think time",
        started_at=at(-10),
        ended_at=at(190),
        requests=60_000,
        failures=0,
        failures_by_kind={},
        creates=21_000,
        connections={KEEP_ALIVE: 90, ONE_SHOT: 30_000},
        versions={
            FIRST: report(9_000, 30.4, 34.2),
            GOOD: report(48_000, 190, 190),
            SLOW: report(3_000, 161.2, 164.5),
        },
        latency=LATENCY,
        longest_gap_ms=1_480,
        writes=Writes(21_000, True, 0, 0, 0, 0, ""),
    )


def good() -> Upgrade:
    return Upgrade(
        id="u1",
        from_version=FIRST,
        to_version=GOOD,
        outcome="Succeeded",
        reason="UpgradeSucceeded",
        message="1.1.0 serves",
        started_at=at(0),
        ended_at=at(90),
        decided_at=None,
        switched_at=at(30.047),
        switched_back_at=None,
        timeline=phases(
            0, ("Preflight", 0.1), ("Expanding", 4.9), ("BringingUp", 6.0), ("Migrating", 12.0), ("Verifying", 7.0),
            ("Switching", 4.0), ("Soaking", 46.0), ("Closing", 4.0), ("Contracting", 6.0),
        ),
    )  # fmt: skip


def bad() -> Upgrade:
    return Upgrade(
        id="u2",
        from_version=GOOD,
        to_version=BAD,
        outcome="Refused",
        reason="Unhealthy",
        message="44 of 810 requests failed, the limit is 1 %",
        started_at=at(95),
        ended_at=at(115),
        decided_at=at(110),
        switched_at=None,
        switched_back_at=None,
        timeline=phases(95, ("Preflight", 0.1), ("Verifying", 15.0), ("BackingOut", 4.9)),
    )


def slow() -> Upgrade:
    return Upgrade(
        id="u3",
        from_version=GOOD,
        to_version=SLOW,
        outcome="RolledBack",
        reason="Unhealthy",
        message="p95 is 1430 ms, the limit is 900 ms",
        started_at=at(120),
        ended_at=at(170),
        decided_at=at(160),
        switched_at=at(150.05),
        switched_back_at=at(160.065),
        timeline=phases(
            120, ("Preflight", 0.1), ("Switching", 10.0), ("Soaking", 20.0), ("RollingBack", 9.9)
        ),
    )


def everything_kept() -> Evidence:
    return Evidence(good(), bad(), slow(), users(), GOOD)


def with_users(seen: Evidence, **changes: object) -> Evidence:
    return replace(seen, users=replace(seen.users, **changes))  # type: ignore[arg-type]


def with_answers(seen: Evidence, version: str, found: VersionReport | None) -> Evidence:
    """The same with another report of one version, or with none."""
    versions = {name: kept for name, kept in seen.users.versions.items() if name != version}
    return with_users(seen, versions=versions if found is None else versions | {version: found})
