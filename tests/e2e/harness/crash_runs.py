"""Tellings of a story with the operator killed at a chosen write, compared with one in which nothing happened.

A lane is a namespace with a rig, a story and its users. The first telling of a lane is undisturbed: it gives the
crash points, in the order in which the operator wrote them, and the end that every other telling must come to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from harness.end_state import differences
from harness.faults import Fault, Side
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.namespaces import namespace
from harness.receipts import complaints
from harness.releases import KIND, Release
from harness.rig_pod import Rig, rig
from harness.stories import PATIENCE_SECONDS, STORM_PATIENCE_SECONDS, Story
from harness.waiting import poll

SIDES: tuple[Side, ...] = ("before", "after")
#: A storm kills at the first write of a new leader as well.
LEAD_SECONDS = 120.0
#: So many looks, half a second apart, in which nothing was written: a new leader's first pass comes sooner.
QUIET_LOOKS = 3
LOG_LINES = 5000
NOT_MET = "not met: the write did not come in this telling"
DEFECT = "pass ended in a defect"

Json = dict[str, Any]
S_co = TypeVar("S_co", bound=Story, covariant=True)


@dataclass(frozen=True)
class Telling:
    """One telling: what was written, where the operator died, what was left, what was wrong."""

    story: str
    points: tuple[str, ...]
    end: Json
    killed_at: tuple[str, ...]
    seconds: float
    requests: int
    wrong: tuple[str, ...] = field(default=())


class Lane(Generic[S_co]):
    """One namespace in which one story is told again and again."""

    def __init__(self, kube: Kube, story: S_co, control: Rig) -> None:
        self.kube = kube
        self.story = story
        self.rig = control
        self._undisturbed: Telling | None = None
        #: A chain goes on from telling to telling, and so does what a storm left in it.
        self._stormed = False

    @property
    def undisturbed(self) -> Telling:
        """The telling without a crash. Raises AssertionError where even that goes wrong."""
        if self._undisturbed is None:
            told = self.tell()
            assert not told.wrong, f"{self.story.name} without a crash: {told.wrong}"
            self._undisturbed = told
        return self._undisturbed

    def points(self) -> tuple[str, ...]:
        """Every persisted write of the story, each once, in order."""
        return tuple(dict.fromkeys(self.undisturbed.points))

    def crash(self, point: str, side: Side) -> Telling:
        """One telling with one kill."""
        expected = self.undisturbed
        told = self.tell(Fault("kill", on="write", side=side, points=(point,)))
        return _judged(told, expected, met=point in told.killed_at)

    def storm(self, side: Side) -> Telling:
        """One telling with a kill at every write, once each; what comes only after a crash is met as well."""
        expected = self.undisturbed
        told = self.tell(Fault("kill", on="write", side=side, times=0, each_once=True))
        return _judged(told, expected, met=bool(told.killed_at))

    def tell(self, *faults: Fault, beside: AbstractContextManager[object] | None = None) -> Telling:
        """Once through the story, with a leader of its own from the first write on, and `beside` it from `ask` on."""
        self.rig.set_faults()
        self.story.set_out()
        deaths, began, at = len(self.rig.deaths()), time.monotonic(), datetime.now(UTC)
        stormy = any(fault.each_once for fault in faults)
        self._stormed = self._stormed or stormy
        with LoadRun(self.kube, self.story.load(), name="crash-users") as users:
            since = self.rig.begin()
            self.rig.set_faults(*faults)
            self.rig.restart()
            self.rig.wait_leading(since=since, deadline_seconds=LEAD_SECONDS)
            self.story.patience_seconds = STORM_PATIENCE_SECONDS if stormy else PATIENCE_SECONDS
            with beside or nullcontext():
                self.story.ask()
                self.story.follow()
            self._wait_rest(since)
            seconds = time.monotonic() - began
            summary = users.stop()
        wrong = summary.faults()
        own = [item for item in self.rig.deaths()[deaths:] if not item["killed_at"]]
        wrong += [f"the operator ended of itself with exit code {item['exit_code']}" for item in own]
        wrong += self._defects(at)
        wrong += complaints(self.story.release, may_fold=self._stormed)
        seen = self.rig.seen(since)
        return Telling(
            story=self.story.name,
            points=tuple(item["point"] for item in seen if 200 <= item["status"] < 300),
            end=self.story.end(),
            killed_at=tuple(item["point"] for item in seen if item["fault"].startswith("kill")),
            seconds=seconds,
            requests=summary.requests,
            wrong=tuple(wrong),
        )

    def _defects(self, since: datetime) -> list[str]:
        """Passes that ended in an error which nobody foresaw."""
        told = (line for line in self.rig.log(tail=LOG_LINES).splitlines() if DEFECT in line)
        lines = [json.loads(line) for line in told]
        return [
            f"{DEFECT}: {line.get('exception', '')[-300:]}"
            for line in lines
            if datetime.fromisoformat(line["timestamp"]) >= since
        ]

    def _wait_rest(self, since: int) -> None:
        """Wait until whoever leads now has nothing more to do."""
        quiet: list[int] = []

        def at_rest() -> bool | None:
            status = self.story.release.status()
            rests = not status.get("upgrade") and status["reason"] in (
                "Stable",
                "RolledBack",
                "BackoutPending",
            )
            if not rests or not self._is_led(since):
                quiet.clear()
                return None
            quiet.append(len(self.rig.seen(since)))
            return True if quiet[-QUIET_LOOKS:] == [quiet[-1]] * QUIET_LOOKS else None

        poll(
            at_rest, what=f"the operator to be at rest after {self.story.name}", every_seconds=0.5,
            deadline_seconds=PATIENCE_SECONDS,
            last_seen=lambda: [item["point"] for item in self.rig.seen(since)][-5:],
        )  # fmt: skip

    def _is_led(self, since: int) -> bool:
        """Whether the operator's present life has taken the Lease."""
        lives = self.rig.state()["lives"]
        taken = [
            item for item in self.rig.seen(since) if item["label"] == "acquire Lease" and item["status"] < 300
        ]
        return bool(taken) and taken[-1]["client"] == lives


def _judged(told: Telling, expected: Telling, *, met: bool) -> Telling:
    wrong = [*told.wrong, *differences(expected.end, told.end)]
    if not met:
        wrong.append(NOT_MET)
    return replace(told, wrong=tuple(wrong))


@contextmanager
def lane(
    kube: Kube,
    make: Callable[[Kube, str], S_co],
    *,
    clock: bytes | None = None,
    failed: Callable[[], bool] = lambda: False,
) -> Iterator[Lane[S_co]]:
    """A lane for the block; `clock` as for a rig."""
    with namespace(kube, "crash", failed=failed) as name:
        story = make(kube, name)
        try:
            with rig(kube, name, clock=clock, failed=failed) as control:
                story.prepare()
                yield Lane(kube, story, control)
        finally:
            _let_go(story.release)


def _let_go(release: Release) -> None:
    """Nobody is left who would answer a finalizer, and the namespace takes everything with it."""
    if release.kube.get(KIND, release.name, release.namespace) is not None:
        release.kube.patch(KIND, release.name, release.namespace, {"metadata": {"finalizers": None}})
