"""The cluster package run as a program of its own, its progress passed on line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from cluster.paths import PACKAGE, REPOSITORY
from conductor.cli.style import lasting
from demo.board import Step
from demo.errors import DemoError

SHOWN_AFTER_SECONDS = 1.0
STOP_SECONDS = 20.0
_GOES_ON = re.compile(
    r"(?P<name>.+?) \.\.\. (?:(?P<so_far>\d+) s so far, usually |\(usually )(?P<usually>\d+) s\)?"
)
_DONE = re.compile(r"(?P<name>.+): done in (?P<seconds>[\d.]+) s")


def run_cluster(step: Step, arguments: Sequence[str], *, instance: str) -> None:
    """`python -m cluster ARGUMENTS`, shown in the step. Raises DemoError with what it said last."""
    chosen = ["--instance", instance] if instance else []
    said: deque[str] = deque(maxlen=12)
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster", *chosen, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            said.append(line.rstrip())
            pass_on(step, line.rstrip().removeprefix("cluster: "), verb=arguments[0])
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)
        process.stderr.close()
    if code != 0:
        raise DemoError(f"python -m cluster {' '.join(arguments)}: exit {code}\n  " + "\n  ".join(said))


def pass_on(step: Step, said: str, *, verb: str) -> None:
    """A part that goes on shows beside the step; one that is done gets a line."""
    if done := _DONE.fullmatch(said):
        seconds = float(done["seconds"])
        if seconds >= SHOWN_AFTER_SECONDS and done["name"] != verb:
            step.line(f"{done['name']}: {lasting(seconds)}")
    elif goes_on := _GOES_ON.fullmatch(said):
        step.now(f"{goes_on['name']} (usually {lasting(float(goes_on['usually']))})")
    else:
        step.now(said)
