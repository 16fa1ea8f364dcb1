"""Runs the stages of `make test` and `make lint` and prints how long each took.

A stage that sets something up ends the run when it fails; one that checks does not, so that
one run tells everything that is wrong. What must be cleaned up is cleaned up in either case.
The last line is the sum of what pytest reported, in pytest's own form.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

from cluster.errors import ClusterError
from cluster.interface import chosen_way

ROOT = Path(__file__).resolve().parent.parent
PYTEST_SUMMARY = re.compile(
    r"^=+ (?P<counts>.*\b(?:passed|failed|error|errors|skipped|no tests ran)\b.*) in [\d.]+s"
)
PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)")
FAILING = ("failed", "error", "skipped")
SECOND_INSTANCE = "aside"


@dataclass(frozen=True)
class Stage:
    """One command of a run. What stands in `beside` runs at the same time, one after the other.

    `second`: it belongs to the second cluster.
    """

    name: str
    command: tuple[str, ...]
    sets_up: bool = False
    cleans_up: bool = False
    beside: tuple[Stage, ...] = ()
    second: bool = False


@dataclass
class Result:
    """What became of a stage."""

    stage: Stage
    seconds: float
    exit_code: int
    counts: Counter[str] = field(default_factory=Counter)


def python(*arguments: str) -> tuple[str, ...]:
    return (".venv/bin/python", *arguments)


LINT = (
    Stage("ruff check", (".venv/bin/ruff", "check")),
    Stage("ruff format", (".venv/bin/ruff", "format", "--check")),
    Stage("mypy", ("scripts/types.sh",)),
    Stage("import contracts", (".venv/bin/lint-imports",)),
    Stage("shellcheck", ("scripts/shellcheck.sh",)),
    Stage("go vet", ("scripts/govet.sh",)),
    Stage("secrets", python("scripts/scan_secrets.py")),
    Stage("dependencies", python("scripts/scan_dependencies.py")),
)
# Fast enough to run after every change; what needs PostgreSQL or plays long stories has a stage of its own.
WITH_DATABASE = ("tests/unit/controlplane", "tests/migrator")
WITHOUT_DATABASE = python("-m", "pytest", "tests/unit", "--ignore=tests/unit/controlplane", "-m")
UNIT = (Stage("unit tests", (*WITHOUT_DATABASE, "not story", "-n", "2")),)
DATABASE = (Stage("database tests", python("-m", "pytest", *WITH_DATABASE)),)
# Plays in memory, so that it can have what the e2e tests leave of the processors while they wait.
STORIES = Stage("stories", ("nice", "-n", "19", *WITHOUT_DATABASE, "story", "tests/model"))
CLUSTER_UP = (
    Stage("cluster up", ("scripts/cluster.sh", "up"), sets_up=True),
    Stage("images", ("scripts/cluster.sh", "images", "all"), sets_up=True),
)
CLUSTER_DOWN = Stage("cluster down", ("scripts/cluster.sh", "down"), cleans_up=True)
E2E_PYTEST = ("scripts/cluster.sh", "exec", "python", "-m", "pytest", "tests/e2e", "--durations=0")
E2E_COMMAND = (*E2E_PYTEST, "--durations-min=5", "-m")
# Most of an e2e test is waiting: three files at a time share the cluster and the operator.
TOGETHER = Stage(
    "e2e tests, three at a time", (*E2E_COMMAND, "not alone and not chaos", "-n", "3", "--dist", "loadfile")
)
E2E_ONE_CLUSTER = (
    replace(TOGETHER, beside=(STORIES,)),
    Stage("e2e tests, one at a time", (*E2E_COMMAND, "alone and not chaos")),
)
# Tests that cannot share an operator share the time: half of them run on a cluster of their own. It comes up
# meanwhile, with what can wait left to those who cannot.
SECOND_DOWN = Stage("second cluster down", ("scripts/cluster.sh", "down"), cleans_up=True, second=True)
E2E_TWO_CLUSTERS = (
    replace(
        TOGETHER,
        beside=(
            Stage("second cluster up", ("nice", "scripts/cluster.sh", "up"), second=True),
            Stage("second cluster's images", ("nice", "scripts/cluster.sh", "images", "all"), second=True),
            STORIES,
        ),
    ),
    Stage(
        "e2e tests, one at a time",
        (*E2E_COMMAND, "alone and not chaos and not elsewhere"),
        beside=(
            Stage("e2e tests, elsewhere", (*E2E_COMMAND, "elsewhere and not chaos"), second=True),
            SECOND_DOWN,
        ),
    ),
)
# Holds the API server's audit log of this run against what the chart grants: only the local way has one.
PRIVILEGES = Stage("privileges", ("scripts/cluster.sh", "exec", "python", "-m", "pytest", "tests/privileges"))
PACKAGES = Stage("packages", ("scripts/packages.sh",), sets_up=True)

RUNS: dict[str, tuple[Stage, ...]] = {
    "lint": LINT,
    "test-unit": UNIT,
    "test-e2e": (PACKAGES, *CLUSTER_UP, *E2E_TWO_CLUSTERS, PRIVILEGES, SECOND_DOWN),
    "test": (
        *(PACKAGES, *LINT, *UNIT, *DATABASE),
        *(*CLUSTER_UP, *E2E_TWO_CLUSTERS, PRIVILEGES, SECOND_DOWN, CLUSTER_DOWN),
    ),
}


def applicable(stages: tuple[Stage, ...], way: Callable[[], str]) -> tuple[tuple[Stage, ...], list[str]]:
    """The stages that can be run on this way to a cluster, and what is to be said of those that cannot."""
    if PRIVILEGES not in stages or (chosen := way()) == "local":
        return stages, []
    local_only = {PRIVILEGES, SECOND_DOWN, *E2E_TWO_CLUSTERS}
    first = stages.index(E2E_TWO_CLUSTERS[0])
    before, after = stages[:first], tuple(stage for stage in stages[first:] if stage not in local_only)
    return (*before, *E2E_ONE_CLUSTER, *after), [
        f"{PRIVILEGES.name}: not run, the way {chosen} to a cluster has no audit log; nothing is shown by it"
    ]


class Runner:
    """Runs stages one after the other and passes an interruption on to the one that runs."""

    def __init__(self) -> None:
        self.children: set[subprocess.Popen[str]] = set()
        self.interrupted = False
        started = datetime.now(UTC).isoformat()
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", "MC_RUN_STARTED": started}

    def interrupt(self, signum: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        for child in list(self.children):
            if child.poll() is None:
                os.killpg(child.pid, signum)

    def run(self, stage: Stage) -> list[Result]:
        """The stage's result, and those of what ran beside it; their output comes after its own."""
        with ThreadPoolExecutor(1) as aside:
            beside = aside.submit(lambda: [self.run_quietly(other) for other in stage.beside])
            result = self.run_one(stage, sys.stdout)
        for _, said in beside.result():
            sys.stdout.write(said)
        return [result, *(other for other, _ in beside.result())]

    def run_quietly(self, stage: Stage) -> tuple[Result, str]:
        told = io.StringIO()
        return self.run_one(stage, told), told.getvalue()

    def run_one(self, stage: Stage, told: TextIO) -> Result:
        print(f"\n--- {stage.name}", file=told, flush=True)
        started = time.monotonic()
        counts: Counter[str] = Counter()
        instance = {"MC_CLUSTER_INSTANCE": SECOND_INSTANCE} if stage.second else {}
        with subprocess.Popen(
            stage.command,
            cwd=ROOT,
            env=self.environment | instance,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as child:
            self.children.add(child)
            assert child.stdout is not None
            for line in child.stdout:
                told.write(line)
                told.flush()
                counts.update(pytest_counts(line))
            exit_code = child.wait()
        self.children.discard(child)
        return Result(stage, time.monotonic() - started, exit_code, counts)

    def run_all(self, stages: tuple[Stage, ...], *, keep: bool) -> list[Result]:
        results: list[Result] = []
        stopped = False
        for stage in stages:
            if stage.cleans_up and keep:
                continue
            if (stopped or self.interrupted) and not stage.cleans_up:
                continue
            ended = self.run(stage)
            results += ended
            stopped = stopped or any(result.stage.sets_up and result.exit_code != 0 for result in ended)
        return results


def pytest_counts(line: str) -> Counter[str]:
    """The counts of pytest's closing line; nothing for any other line."""
    summary = PYTEST_SUMMARY.match(line)
    if summary is None:
        return Counter()
    found = PYTEST_COUNT.findall(summary["counts"])
    return Counter(
        {name.removesuffix("s") if name == "errors" else name: int(number) for number, name in found}
    )


def report(results: list[Result], skipped_names: list[str], notes: list[str]) -> None:
    width = max((len(result.stage.name) for result in results), default=10)
    print("\n--- time per stage")
    for result in results:
        outcome = "ok" if result.exit_code == 0 else f"FAILED (exit {result.exit_code})"
        print(f"  {result.stage.name:<{width}}  {result.seconds:7.1f} s  {outcome}")
    for name in skipped_names:
        print(f"  {name:<{width}}        -    not reached")
    for note in notes:
        print(f"  {note}")


def closing_line(results: list[Result], seconds: float) -> str:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)
    # A failed stage without tests of its own still has to show in the one line that is read.
    total["failed"] += sum(1 for result in results if result.exit_code != 0 and not result.counts)
    order = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "error")
    counted = ", ".join(f"{total[name]} {name}" for name in order if total[name])
    return f" {counted or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", choices=sorted(RUNS))
    arguments = parser.parse_args()
    try:
        stages, notes = applicable(RUNS[arguments.run], chosen_way)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1

    runner = Runner()
    signal.signal(signal.SIGINT, runner.interrupt)
    signal.signal(signal.SIGTERM, runner.interrupt)

    keep = os.environ.get("KEEP", "") not in ("", "0")
    started = time.monotonic()
    results = runner.run_all(stages, keep=keep)
    reached = {result.stage.name for result in results}
    missed = [s.name for s in stages if s.name not in reached and not (s.cleans_up and keep)]
    report(results, missed, notes)
    skipped = sum(result.counts["skipped"] for result in results)
    if skipped:
        print(f"  {skipped} skipped: a test that did not run proves nothing, so this run has failed")
    print(closing_line(results, time.monotonic() - started), flush=True)
    failed = any(r.exit_code != 0 or any(r.counts[name] for name in FAILING) for r in results)
    return 1 if failed or missed or runner.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
