"""Clocks jump by minutes while an upgrade goes on: that of the operator's machine, and that of the API server.

What is written on objects by a clock that jumped is in tests/unit/domain/test_clock_stories.py: there is no way to
let a real API server's clock jump without those of all else on its machine.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import debian
from harness.beside import LONG_PHASES, InEachPhase
from harness.crash_runs import DEFECT, Lane, Telling, lane
from harness.end_state import differences
from harness.kube import Kube
from harness.podinfo import PodinfoOptions
from harness.stories import PodinfoUpgrade

JUMP_SECONDS = 300
SOAK_SECONDS = 20
SOURCE = Path(__file__).with_name("harness") / "jumping_clock.c"
COMPILER = {"gcc": "/usr/bin/gcc", "libc6-dev": "/usr/include/stdlib.h"}
OPTIONS = PodinfoOptions(replicas=2, soak=f"{SOAK_SECONDS}s", window="10s", bring_up="2m", verify="2m")

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def made(
    kube: Kube,
    no_other_operator: None,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Lane[PodinfoUpgrade]]:
    """Its operator looks at its machine's clock through a library that can let it jump."""
    debian.ensure(COMPILER)
    library = tmp_path_factory.mktemp("clock") / "jumping_clock.so"
    flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-s")
    subprocess.run(("gcc", *flags, "-o", str(library), str(SOURCE)), check=True)
    before = request.session.testsfailed
    with lane(
        kube,
        lambda kube, namespace: PodinfoUpgrade(kube, namespace, options=OPTIONS),
        clock=library.read_bytes(),
        failed=lambda: request.session.testsfailed > before,
    ) as ready:
        yield ready
        ready.rig.jump(0)
        ready.rig.server_jump(0)


class Jumps(InEachPhase):
    """So many seconds more in each phase."""

    def __init__(self, made: Lane[PodinfoUpgrade], jump: Callable[[float], None], seconds: int) -> None:
        super().__init__(made.story.release, self._jump)
        self.ahead = 0
        self._to, self._further = jump, seconds

    def _jump(self) -> None:
        self.ahead += self._further
        self._to(self.ahead)

    def soaked(self) -> timedelta:
        """The time from the switch to the end of the soak, by the clock of the tests."""
        entered: dict[str, datetime] = {}
        for at, status in self.recorder.seen:
            entered.setdefault(status["phase"], at)
        return entered["Closing"] - entered["Switching"]


def assert_as_without(made: Lane[PodinfoUpgrade], told: Telling, jumps: Jumps) -> None:
    assert set(jumps.met) >= LONG_PHASES
    assert told.wrong == ()
    assert list(differences(made.undisturbed.end, told.end)) == []
    assert jumps.soaked() >= timedelta(seconds=0.9 * SOAK_SECONDS)


def log_lines(made: Lane[PodinfoUpgrade]) -> list[dict[str, Any]]:
    """What the operator itself said, oldest first; its libraries write no time."""
    lines = (json.loads(line) for line in made.rig.log(tail=400).splitlines() if line.startswith('{"'))
    return [line for line in lines if "timestamp" in line]


@pytest.mark.parametrize("seconds", [JUMP_SECONDS, -JUMP_SECONDS])
def test_the_clock_of_the_operators_machine_jumps_in_each_phase(
    made: Lane[PodinfoUpgrade], seconds: int
) -> None:
    jumps = Jumps(made, made.rig.jump, seconds)
    told = made.tell(beside=jumps)
    lines = log_lines(made)
    newest = datetime.fromisoformat(lines[-1]["timestamp"])
    made.rig.jump(0)
    off = (newest - datetime.now(UTC)).total_seconds()
    assert abs(off - jumps.ahead) < JUMP_SECONDS / 2, "the operator's own log has the clock that jumped"
    assert not [line for line in lines if DEFECT in line["event"]]
    assert_as_without(made, told, jumps)


@pytest.mark.parametrize("seconds", [JUMP_SECONDS, -JUMP_SECONDS])
def test_the_clock_of_the_api_server_jumps_in_each_phase(made: Lane[PodinfoUpgrade], seconds: int) -> None:
    jumps = Jumps(made, made.rig.server_jump, seconds)
    told = made.tell(beside=jumps)
    (gap,) = (line for line in made.rig.metrics().splitlines() if line.startswith("mc_clock_gap_seconds"))
    made.rig.server_jump(0)
    assert abs(float(gap.split()[1])) > JUMP_SECONDS, "the operator has seen it, and does not follow"
    assert_as_without(made, told, jumps)
