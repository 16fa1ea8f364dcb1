"""`bench/scale.py` goes on where it broke off, and says what is not as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenarios.checkpoint import Checkpoint, StopBeforeError
from scenarios.scale_report import Report

ABOUT = {"cluster": "one", "options": {"sizes": (10,)}}


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bench.checkpoint.json"
    Checkpoint(path, ABOUT).part("first", lambda: {"seconds": 1.5})
    again = Checkpoint(path, ABOUT)
    assert again.part("first", lambda: {"seconds": 9.0}) == {"seconds": 1.5}
    assert again.part("second", lambda: {"seconds": 2.0}) == {"seconds": 2.0}
    assert list(Checkpoint(path, ABOUT).parts) == ["first", "second"]


def test_a_part_that_failed_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "bench.checkpoint.json"

    def failing() -> dict[str, Any]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        Checkpoint(path, ABOUT).part("first", failing)
    assert Checkpoint(path, ABOUT).part("first", lambda: {"seconds": 2.0}) == {"seconds": 2.0}


def test_another_cluster_or_other_options_begin_afresh(tmp_path: Path) -> None:
    path = tmp_path / "bench.checkpoint.json"
    Checkpoint(path, ABOUT).part("first", lambda: {"seconds": 1.5})
    assert not Checkpoint(path, ABOUT | {"cluster": "another"}).parts


def test_a_run_can_be_stopped_before_a_part_and_goes_on_there(tmp_path: Path) -> None:
    path = tmp_path / "bench.checkpoint.json"
    stopping = Checkpoint(path, ABOUT, stop_before="second")
    stopping.part("first", lambda: {"seconds": 1.5})
    with pytest.raises(StopBeforeError, match="second"):
        stopping.part("second", lambda: {"seconds": 2.0})
    assert list(Checkpoint(path, ABOUT, stop_before="first").parts) == ["first"]


def spread(*values: float) -> dict[str, Any]:
    return {"values": list(values)}


def rest(memory: float, cpu: float = 0.3) -> dict[str, Any]:
    return {"memoryMB": spread(memory), "cpuPercentOfACore": spread(cpu)}


def upgrades(**changes: Any) -> dict[str, Any]:
    found = {
        "upgrades": 5,
        "askedInSeconds": 1.0,
        "seconds": 90.0,
        "decisions": 400.0,
        "succeeded": 5.0,
        "processStarted": 1000.0,
        "wakeToDecisionSeconds": {"p50": 0.01, "p99": 0.1},
        "readWakeToDecisionSeconds": {"p50": 0.05, "p99": 0.2},
        "cpuPercentOfACore": 40.0,
        "memoryMB": {"greatest": 110.0},
        "rest": rest(105.0),
    }
    return found | changes


def report(**changes: Any) -> Report:
    requests = {"get controlplanereleases.maestro-conductor.io": 40, "update leases.coordination.k8s.io": 30}
    parts: dict[str, Any] = {
        "argo/10/rest": {"argo": rest(120.0)},
        "operator/10/rest": {"operator": rest(100.0), "releasesWritten": 0, "requests": requests},
        "operator/10/cold": {"seconds": spread(4.0, 6.0)},
        "both/rest": {"operator": rest(100.0), "argo": rest(120.0)},
        "both/after": {"operator": rest(104.0), "argo": rest(120.0)},
        "upgrades/defaults": upgrades(),
        "upgrades/short": upgrades(),
    }
    return Report([10], upgrading=5, rounds=("defaults", "short"), parts=parts | changes)


def test_what_is_as_promised_is_not_complained_about() -> None:
    assert not report().broken()
    assert "0.83" in "\n".join(report().lines())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"argo/10/rest": {"argo": rest(90.0)}}, "memory with 10 releases: 100 MB, Argo Rollouts' 90 MB"),
        (
            {"both/after": {"operator": rest(130.0), "argo": rest(120.0)}},
            "memory beside Argo Rollouts, after the upgrades: 130 MB, Argo Rollouts' 120 MB",
        ),
        ({"operator/10/cold": {"seconds": spread(4.0, 31.0)}}, "cold start with 10 releases: 31.0 s"),
        (
            {
                "operator/10/rest": {
                    "operator": rest(100.0, 1.2),
                    "releasesWritten": 0,
                    "requests": {"update controlplanereleases/status.maestro-conductor.io": 2},
                }
            },
            "written at rest with 10 releases: {'update controlplanereleases/status.maestro-conductor.io': 2}",
        ),
        (
            {"upgrades/short": upgrades(wakeToDecisionSeconds={"p50": 0.02, "p99": 0.4})},
            "pace short, asked for in 1 s: wake to decision p99 400 ms",
        ),
        ({"upgrades/short": upgrades(succeeded=4.0)}, "pace short: 4 of 5 succeeded"),
        ({"upgrades/short": upgrades(processStarted=2000.0)}, "started anew between the rounds"),
        ({"upgrades/short": upgrades(rest=rest(116.0))}, "memory grew by 11.0 MB"),
    ],
)
def test_each_broken_promise_is_named(changes: dict[str, Any], said: str) -> None:
    assert said in "\n".join(report(**changes).broken())
