"""The API server is away, slow, contrary or forgetful while an upgrade goes on: docs/faults.md, part 1."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any

import pytest

from harness.crash_runs import Lane, Telling, lane
from harness.end_state import differences
from harness.faults import Fault
from harness.kube import Kube
from harness.releases import PhaseRecorder
from harness.stories import PodinfoUpgrade

AWAY_SECONDS = 30.0
PHASES = ("Preflight", "BringingUp", "Migrating", "Verifying", "Switching", "Soaking", "Closing")
#: Long enough to stand still in; the others pass in a moment, and are cut off with their neighbours.
LONG_PHASES = {"BringingUp", "Verifying", "Switching", "Soaking", "Closing"}

pytestmark = [pytest.mark.alone, pytest.mark.elsewhere, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def made(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> Iterator[Lane[PodinfoUpgrade]]:
    before = request.session.testsfailed
    with lane(kube, PodinfoUpgrade, failed=lambda: request.session.testsfailed > before) as ready:
        yield ready


def refusal(code: int, reason: str) -> str:
    """The body of an API server's refusal."""
    return json.dumps(
        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
         "message": f"{reason}, made by the fault proxy"}
    )  # fmt: skip


def assert_as_without(made: Lane[PodinfoUpgrade], told: Telling) -> None:
    assert told.wrong == ()
    assert list(differences(made.undisturbed.end, told.end)) == []


class InEachPhase:
    """Beside a telling: something befalls the API server as soon as a phase is seen, and is over some time later."""

    def __init__(
        self,
        made: Lane[PodinfoUpgrade],
        begin: Callable[[], object],
        end: Callable[[], object],
        seconds: float,
    ) -> None:
        self.met: list[str] = []
        self._begin, self._end, self._seconds = begin, end, seconds
        self._recorder = PhaseRecorder(made.story.release, self._meet)
        self._over = threading.Event()

    def __enter__(self) -> InEachPhase:
        self._recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._recorder.__exit__()

    def _meet(self, _at: datetime, status: dict[str, Any]) -> None:
        phase = status.get("phase", "")
        if phase in self.met or phase not in PHASES or not status.get("upgrade"):
            return
        self.met.append(phase)
        self._begin()
        try:
            self._over.wait(self._seconds)
        finally:
            self._end()


class Again:
    """Beside a telling: something happens to the operator's watches, over and over."""

    def __init__(self, act: Callable[[], Any], every_seconds: float) -> None:
        self.happened = 0
        self._act, self._every = act, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Again:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.happened += int(self._act()["watches"])


def test_the_first_try_of_every_write_meets_a_conflict(made: Lane[PodinfoUpgrade]) -> None:
    conflict = Fault("answer", on="write", times=0, each_once=True, status=409, body=refusal(409, "Conflict"))
    told = made.tell(conflict)
    assert told.wrong == ()
    assert len(made.rig.fired()) > 15
    assert told.end["Service/podinfo"]["selector"]["maestro-conductor.io/revision"] == "<to>"
    assert told.end["status"]["lastUpgrade"]["outcome"] == "Succeeded"
    assert told.end["status"]["conditions"]["Ready"] == ["True", "Stable"]


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("code", "reason"),
    [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable")],
)
def test_the_first_try_of_every_write_is_refused(made: Lane[PodinfoUpgrade], code: int, reason: str) -> None:
    told = made.tell(
        Fault("answer", on="write", times=0, each_once=True, status=code, body=refusal(code, reason))
    )
    assert_as_without(made, told)


@pytest.mark.chaos
@pytest.mark.parametrize("side", ["before", "after"])
def test_the_connection_breaks_at_the_first_try_of_every_write(made: Lane[PodinfoUpgrade], side: Any) -> None:
    told = made.tell(Fault("drop", on="write", side=side, times=0, each_once=True))
    assert_as_without(made, told)


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("on", "seconds"), [("any", 1.0), ("write", 3.0)], ids=["everything takes a second", "etcd takes three"]
)
def test_a_slow_api_server_makes_a_slow_upgrade(made: Lane[PodinfoUpgrade], on: Any, seconds: float) -> None:
    told = made.tell(Fault("delay", on=on, times=0, seconds=seconds))
    assert_as_without(made, told)


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_the_api_server_is_away_in_each_phase(made: Lane[PodinfoUpgrade], how: str) -> None:
    """Longer than the Lease lasts: the operator stops deciding, and goes on under a new epoch."""
    away = InEachPhase(made, lambda: made.rig.server(how), lambda: made.rig.server("come-back"), AWAY_SECONDS)
    told = made.tell(beside=away)
    assert set(away.met) >= LONG_PHASES
    assert_as_without(made, told)


@pytest.mark.chaos
@pytest.mark.parametrize("deed", ["cut-watches", "expire-watches"])
def test_watches_that_never_last(made: Lane[PodinfoUpgrade], deed: str) -> None:
    again = Again(lambda: made.rig.server(deed), every_seconds=1.0)
    told = made.tell(beside=again)
    assert again.happened > 20
    assert_as_without(made, told)
