"""The API server is away, slow, contrary or forgetful while an upgrade goes on: docs/faults.md, part 1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.beside import LONG_PHASES, Again, InEachPhase
from harness.crash_runs import Lane, Telling
from harness.end_state import differences
from harness.faults import Fault
from harness.stories import PodinfoUpgrade

AWAY_SECONDS = 30.0

pytestmark = [pytest.mark.alone, pytest.mark.elsewhere, pytest.mark.timeout(900)]


def refusal(code: int, reason: str) -> str:
    """The body of an API server's refusal."""
    return json.dumps(
        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
         "message": f"{reason}, made by the fault proxy"}
    )  # fmt: skip


def assert_as_without(made: Lane[PodinfoUpgrade], told: Telling) -> None:
    assert told.wrong == ()
    assert list(differences(made.undisturbed.end, told.end)) == []


def test_the_first_try_of_every_write_meets_a_conflict(podinfo_lane: Lane[PodinfoUpgrade]) -> None:
    conflict = Fault("answer", on="write", times=0, each_once=True, status=409, body=refusal(409, "Conflict"))
    told = podinfo_lane.tell(conflict)
    assert told.wrong == ()
    assert len(podinfo_lane.rig.fired()) > 15
    assert told.end["Service/podinfo"]["selector"]["maestro-conductor.io/revision"] == "<to>"
    assert told.end["status"]["lastUpgrade"]["outcome"] == "Succeeded"
    assert told.end["status"]["conditions"]["Ready"] == ["True", "Stable"]


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("code", "reason"),
    [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable")],
)
def test_the_first_try_of_every_write_is_refused(
    podinfo_lane: Lane[PodinfoUpgrade], code: int, reason: str
) -> None:
    told = podinfo_lane.tell(
        Fault("answer", on="write", times=0, each_once=True, status=code, body=refusal(code, reason))
    )
    assert_as_without(podinfo_lane, told)


@pytest.mark.chaos
@pytest.mark.parametrize("side", ["before", "after"])
def test_the_connection_breaks_at_the_first_try_of_every_write(
    podinfo_lane: Lane[PodinfoUpgrade], side: Any
) -> None:
    told = podinfo_lane.tell(Fault("drop", on="write", side=side, times=0, each_once=True))
    assert_as_without(podinfo_lane, told)


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("on", "seconds"), [("any", 1.0), ("write", 3.0)], ids=["everything takes a second", "etcd takes three"]
)
def test_a_slow_api_server_makes_a_slow_upgrade(
    podinfo_lane: Lane[PodinfoUpgrade], on: Any, seconds: float
) -> None:
    told = podinfo_lane.tell(Fault("delay", on=on, times=0, seconds=seconds))
    assert_as_without(podinfo_lane, told)


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_the_api_server_is_away_in_each_phase(podinfo_lane: Lane[PodinfoUpgrade], how: str) -> None:
    """Longer than the Lease lasts: the operator stops deciding, and goes on under a new epoch."""
    away = InEachPhase(
        podinfo_lane.story.release,
        lambda: podinfo_lane.rig.server(how),
        lambda: podinfo_lane.rig.server("come-back"),
        AWAY_SECONDS,
    )
    told = podinfo_lane.tell(beside=away)
    assert set(away.met) >= LONG_PHASES
    assert_as_without(podinfo_lane, told)


@pytest.mark.chaos
@pytest.mark.parametrize("deed", ["cut-watches", "expire-watches"])
def test_watches_that_never_last(podinfo_lane: Lane[PodinfoUpgrade], deed: str) -> None:
    again = Again(lambda: int(podinfo_lane.rig.server(deed)["watches"]), every_seconds=1.0)
    told = podinfo_lane.tell(beside=again)
    assert again.happened > 20
    assert_as_without(podinfo_lane, told)
