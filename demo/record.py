"""The report for machines: the same evidence as the table shows, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from demo.promises import Evidence, Promise, answers, kept_all
from demo.table import last_answer, last_led, losing, phase_seconds, rollback_seconds, switch_seconds
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.releases import Upgrade

FORMAT = 1


def record(seen: Evidence, found: Sequence[Promise], took: Mapping[str, float]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kept": kept_all(found),
        "promises": [{"promise": p.says, "kept": p.kept, "saw": p.saw} for p in found],
        "users": users_record(seen.users),
        "upgrades": [
            upgrade_record(upgrade, seen.users)
            for upgrade in (seen.good, seen.bad, seen.slow)
            if upgrade is not None
        ],
        "servingVersion": seen.serving,
        "stepSeconds": {key: round(seconds, 1) for key, seconds in took.items()},
    }


def users_record(users: LoadSummary) -> dict[str, Any]:
    writes = users.writes
    return {
        "loop": users.loop,
        "startedAt": users.started_at.isoformat(),
        "endedAt": users.ended_at.isoformat(),
        "requests": users.requests,
        "failures": users.failures,
        "failuresByKind": users.failures_by_kind,
        "failureSamples": list(users.failure_samples),
        "creates": users.creates,
        "latencyMs": {f"p{q}": users.latency.quantile_ms(q / 100) for q in (50, 95, 99)},
        "longestGapMs": users.longest_gap_ms,
        "acknowledgedIds": writes.acknowledged,
        "missingIds": writes.missing,
        "duplicateIds": writes.duplicates,
        "idsLookedUp": writes.verified,
    }


def upgrade_record(upgrade: Upgrade, users: LoadSummary) -> dict[str, Any]:
    phases = dict.fromkeys(entry.phase for entry in upgrade.timeline)
    return {
        "id": upgrade.id,
        "from": upgrade.from_version,
        "to": upgrade.to_version,
        "outcome": upgrade.outcome,
        "reason": upgrade.reason,
        "message": upgrade.message,
        "startedAt": upgrade.started_at.isoformat(),
        "endedAt": upgrade.ended_at.isoformat(),
        "phaseSeconds": {name: phase_seconds(upgrade, name) for name in phases},
        "switchMs": _ms(switch_seconds(upgrade)),
        "rollbackMs": _ms(rollback_seconds(upgrade)),
        "answersToUsers": answers(users, upgrade.to_version),
        "losingVersion": losing(upgrade)[0],
        "losingLastConnectionSeconds": last_led(upgrade, users),
        "losingLastAnswerSeconds": {
            client: last_answer(upgrade, users, client) for client in (ONE_SHOT, KEEP_ALIVE)
        },
    }


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)
