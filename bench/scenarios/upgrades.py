"""One upgrade under load: asked for, followed to its end, measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from conductor.adapters.release_access import ReleaseAccess
from conductor.cli.options import Terminal
from conductor.cli.style import style_for
from conductor.cli.watch import follow
from harness.load_run import LoadRun
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.releases import Release, Upgrade
from scenarios.applications import Application

#: Steady traffic before and after an upgrade, so that its edges are seen as well.
REQUESTS_BEFORE = 2000
REQUESTS_AFTER = 2000


@dataclass(frozen=True)
class Measured:
    """An upgrade and what its users saw."""

    name: str
    asked_for: str
    upgrade: Upgrade
    load: LoadSummary

    @property
    def turned_at(self) -> datetime | None:
        """When the losing colour was decided to lose: at the decision to go back, or else at the switch."""
        return self.upgrade.decided_at if self.went_back else self.upgrade.switched_at

    @property
    def went_back(self) -> bool:
        return self.upgrade.outcome == "RolledBack"

    @property
    def losing_version(self) -> str:
        return self.upgrade.to_version if self.went_back else self.upgrade.from_version

    @property
    def switch_seconds(self) -> float | None:
        """The Switching phase: from the intent to the proof that traffic went there, workers included."""
        return next((phase.seconds for phase in self.upgrade.timeline if phase.phase == "Switching"), None)

    @property
    def rollback_seconds(self) -> float | None:
        """From the decision to the last Service that points back."""
        return seconds_between(self.upgrade.decided_at, self.upgrade.switched_back_at)

    def last_answer_seconds(self, client: str) -> float | None:
        """How long after the turn a client of this kind still heard the losing version."""
        if self.upgrade.outcome not in ("Succeeded", "RolledBack"):
            return None
        return seconds_between(self.turned_at, self.load.last_answer(self.losing_version, client))

    def users_met(self, version: str) -> int:
        report = self.load.versions.get(version)
        return report.answers if report else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "from": self.upgrade.from_version,
            "to": self.upgrade.to_version,
            "outcome": self.upgrade.outcome,
            "reason": self.upgrade.reason,
            "message": self.upgrade.message,
            "requests": self.load.requests,
            "failures": self.load.failures,
            "failuresByKind": self.load.failures_by_kind,
            "creates": self.load.creates,
            "acknowledged": self.load.writes.acknowledged,
            "missing": self.load.writes.missing,
            "duplicates": self.load.writes.duplicates,
            "loop": self.load.loop,
            "p95Ms": self.load.latency.quantile_ms(0.95),
            "longestGapMs": self.load.longest_gap_ms,
            "answers": {version: report.answers for version, report in self.load.versions.items()},
            "phases": [{"phase": phase.phase, "seconds": phase.seconds} for phase in self.upgrade.timeline],
            "switchSeconds": self.switch_seconds,
            "rollbackSeconds": self.rollback_seconds,
            "lastAnswerSeconds": {
                client: self.last_answer_seconds(client) for client in (KEEP_ALIVE, ONE_SHOT)
            },
        }


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def watch_live(release: Release) -> None:
    """What `conductor watch` shows, until the release has come to rest."""
    access = ReleaseAccess.connect(namespace=release.namespace)
    follow(access, release.name, Terminal(style_for(sys.stdout, "conductor"), sys.stdout))


def upgrade_under_load(
    application: Application,
    name: str,
    version: str,
    *,
    requests: int = 0,
    watch: Callable[[Release], None] = watch_live,
    ask: Callable[[], None] | None = None,
) -> Measured:
    """Runs the load, asks for the version, follows it to its end; at least `requests` in all."""
    release = application.release
    before = (release.status().get("lastUpgrade") or {}).get("id")
    with LoadRun(application.kube, application.load()) as run:
        run.wait_requests(REQUESTS_BEFORE, deadline_seconds=120)
        (ask or (lambda: application.ask_for(version)))()
        wait_started(release, before)
        watch(release)
        release.wait(
            lambda item: not item["status"].get("upgrade"), what="the upgrade's end", deadline_seconds=600
        )
        so_far = run.latest()
        wanted = max(requests, (so_far.requests if so_far else 0) + REQUESTS_AFTER)
        run.wait_requests(wanted, deadline_seconds=600)
        summary = run.stop()
    return Measured(name, version, release.last_upgrade(), summary)


def wait_started(release: Release, last_id: str | None) -> None:
    release.wait(
        lambda item: (
            bool(item["status"].get("upgrade"))
            or (item["status"].get("lastUpgrade") or {}).get("id") != last_id
        ),
        what="the upgrade's start",
        deadline_seconds=60,
    )
