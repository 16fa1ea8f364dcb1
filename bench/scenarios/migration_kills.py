"""Tellings of mc's upgrade with one kill at a line of the ledger, held against the telling without one."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from conductor.api import names
from conductor.api.reasons import Reason
from harness.crash_runs import LEAD_SECONDS, NOT_MET, Lane
from harness.end_state import differences
from harness.kube import ApiError, Kube, KubectlError
from harness.load_run import LoadRun
from harness.load_summary import LoadSummary
from harness.receipts import complaints
from harness.rig_pod import Rig
from harness.waiting import WaitError, poll
from scenarios.halts import FOUND, IN_THE_DATABASE, RELEASE, WAIT
from scenarios.ledger_kills import Json, Point, points_of
from scenarios.migration_stories import GIVEN_UP, Contracted

#: Why, as docs/faults.md decided it.
DECIDED = frozenset(
    {
        Reason.ACTIVE_UNHEALTHY,
        Reason.UNHEALTHY,
        Reason.NO_DATA,
        Reason.READINESS_LOST,
        Reason.EXPAND_FAILED,
        Reason.MIGRATE_FAILED,
    }
)
#: How long one command in the database's pod waits for a runner to come to the point.
_LOOK_SECONDS = 40
_RECOVERY_SECONDS = 60.0
#: A runner that is held is given up by its own statement timeout after five seconds.
_JOB_ENDS_SECONDS = 4.0


class Strike:
    """Kills the victim once the runner is held at the point; beside a telling, as a context."""

    def __init__(self, story: Contracted, rig: Rig, victim: str) -> None:
        self.met = False
        self.error = ""
        self._story = story
        self._rig = rig
        self._victim = victim
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"strike-{story.namespace}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_LOOK_SECONDS + _RECOVERY_SECONDS)

    def _run(self) -> None:
        try:
            while not self._over.is_set() and not self.met:
                if self._held():
                    self.met = True
                    self._end()
        except (ApiError, KubectlError, WaitError, OSError) as error:
            self.error = f"the kill of the {self._victim} went wrong: {error}"[:500]

    def _held(self) -> bool:
        """Wait for a while; what can be killed in the database is dead when this is answered."""
        plane = self._story.plane
        script = WAIT.format(seconds=_LOOK_SECONDS) + IN_THE_DATABASE.get(self._victim, "") + FOUND
        try:
            told = plane.sql(script)
        except KubectlError:
            if self._victim != "database":
                raise
            told = poll(
                lambda: self._asked(FOUND),
                what="PostgreSQL after its crash",
                deadline_seconds=_RECOVERY_SECONDS,
            )
        return int(told.split()[-1]) > 0

    def _asked(self, statement: str) -> str | None:
        try:
            return self._story.plane.sql(statement)
        except KubectlError:
            return None

    def _end(self) -> None:
        if self._victim == "operator":
            self._rig.restart()
        elif self._victim == "pod":
            self._end_pod()
        # A server that lost a backend may answer for a moment before it ends all others.
        poll(lambda: self._asked(RELEASE), what="the runner to be let go", deadline_seconds=_RECOVERY_SECONDS)

    def _end_pod(self) -> None:
        kube, namespace = self._story.kube, self._story.namespace
        labels = f"{names.LABEL_ROLE}={names.ROLE_MIGRATION},{names.LABEL_UPGRADE}={self._story.release.upgrade_id()}"
        running = [
            pod
            for pod in kube.objects("Pod", namespace, labels=labels)
            if pod["status"].get("phase") in ("Pending", "Running")
        ]
        for pod in running:
            kube.delete("Pod", pod["metadata"]["name"], namespace, grace_seconds=0)
        before = {pod["metadata"]["labels"].get("job-name", "") for pod in running}

        def ended() -> bool | None:
            jobs = kube.objects("Job", namespace, labels=labels)
            failed = {job["metadata"]["name"] for job in jobs if (job.get("status") or {}).get("failed")}
            return True if before <= failed else None

        try:
            # So long the session that it left goes on standing where it stood.
            poll(ended, what="its Job to have failed", deadline_seconds=_JOB_ENDS_SECONDS)
        except WaitError:
            # It has no influence on what is tested: the session ends by its own statement timeout.
            return


@dataclass(frozen=True)
class Telling:
    """One telling: what was left, what was wrong, whether the kill came."""

    end: Json
    lines: tuple[Json, ...]
    seconds: float
    requests: int
    met: bool
    wrong: tuple[str, ...]


class KillLane(Lane[Contracted]):
    """A lane whose kills come at lines of the ledger."""

    def __init__(self, kube: Kube, story: Contracted, control: Rig) -> None:
        super().__init__(kube, story, control)
        self._plain: Telling | None = None

    @property
    def plain(self) -> Telling:
        """The telling without a kill. Raises AssertionError where even that goes wrong."""
        if self._plain is None:
            told = self.told(None, "")
            assert not told.wrong, f"{self.story.name} without a kill: {told.wrong}"
            self._plain = told
        return self._plain

    def places(self) -> list[str]:
        return points_of(self.plain.lines)

    def kill(self, point: Point, victim: str) -> Telling:
        """One telling with one kill, held against the one without."""
        expected = self.plain.end
        told = self.told(point, victim)
        wrong = [*told.wrong, *judged(expected, told.end, victim)]
        if not told.met:
            wrong.append(NOT_MET)
        return Telling(told.end, told.lines, told.seconds, told.requests, told.met, tuple(wrong))

    def told(self, point: Point | None, victim: str) -> Telling:
        """Once through the story, as `Lane.tell` does it, with the kill beside it."""
        story, rig = self.story, self.rig
        story.hold, story.lenient = point, victim == "database"
        rig.set_faults()
        story.set_out()
        deaths, began, at = len(rig.deaths()), time.monotonic(), datetime.now(UTC)
        with LoadRun(self.kube, story.load(), name="kill-users") as users:
            since = rig.begin()
            rig.restart()
            rig.wait_leading(since=since, deadline_seconds=LEAD_SECONDS)
            strike = Strike(story, rig, victim) if point is not None else None
            with strike or nullcontext():
                story.ask()
                story.follow()
            self._wait_rest(since)
            seconds = time.monotonic() - began
            summary = users.stop()
        end = story.end()
        wrong = [*story.wrong, *users_lost(summary, lenient=story.lenient)]
        if strike is not None and strike.error:
            wrong.append(strike.error)
        own = [item for item in rig.deaths()[deaths:] if not item["killed_at"]]
        wrong += [f"the operator ended of itself with exit code {item['exit_code']}" for item in own]
        wrong += self._defects(at)
        wrong += complaints(story.release)
        met = strike is not None and strike.met
        return Telling(end, tuple(story.lines()), seconds, summary.requests, met, tuple(wrong))


def users_lost(summary: LoadSummary, *, lenient: bool) -> list[str]:
    """`lenient`: without a database requests fail; but what was acknowledged is there, once."""
    if not lenient:
        return summary.faults()
    writes = summary.writes
    if writes.error or not writes.verified:
        return [f"writes were not verified: {writes.error}"]
    if writes.missing or writes.duplicates:
        return [f"{writes.missing} acknowledged ids are missing, {writes.duplicates} are there twice"]
    return []


def judged(expected: Json, found: Json, victim: str) -> list[str]:
    """Where a telling ended otherwise than the one without a kill, and not as was decided for its victim."""
    if victim != "database" or found["outcome"] not in GIVEN_UP or expected["outcome"] == found["outcome"]:
        return list(differences(expected, found))
    wrong = []
    if found["reason"] not in DECIDED:
        wrong.append(f"given up as {found['reason']}, which is not decided for a database that was away")
    if found["permits"]:
        wrong.append("given up, and a permit to contract is consumed")
    kept = found["outcome"] == "RolledBack"
    if not kept and any(name.startswith("owner_") for name in found["columns"]):
        wrong.append("given up before any user was there, and the expand step was not taken back")
    if "owner" not in found["columns"]:
        wrong.append("given up, and the old shape is gone")
    return wrong
