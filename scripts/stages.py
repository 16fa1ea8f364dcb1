"""Runs the stages of `make test` and `make lint` and prints how long each took.

A stage that sets something up ends the run when it fails; one that checks does not, so that
one run tells everything that is wrong. What must be cleaned up is cleaned up in either case.
What runs at the same time as another stage is told after it, as a whole.
The last line is the sum of what pytest reported, in pytest's own form.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

from cluster.errors import ClusterError
from cluster.interface import chosen_way
from cluster.paths import DEFAULT_INSTANCE

ROOT = Path(__file__).resolve().parent.parent
PYTEST_SUMMARY = re.compile(
    r"^=+ (?P<counts>.*\b(?:passed|failed|error|errors|skipped|no tests ran)\b.*) in [\d.]+s"
)
PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)")
FAILING = ("failed", "error", "skipped")
OWN_INSTANCE = os.environ.get("MC_CLUSTER_INSTANCE", DEFAULT_INSTANCE)
SECOND_INSTANCE = "aside" if OWN_INSTANCE == DEFAULT_INSTANCE else f"{OWN_INSTANCE[:7]}2"


@dataclass(frozen=True)
class Stage:
    """One command of a run. What stands in `beside` runs at the same time, one after the other.

    What stands in `meanwhile` begins at the same time as well, and need not be over before the end of the run: it waits
    for nothing that others set up. `second`: it belongs to the second cluster.
    """

    name: str
    command: tuple[str, ...]
    sets_up: bool = False
    cleans_up: bool = False
    beside: tuple[Stage, ...] = ()
    meanwhile: tuple[Stage, ...] = ()
    second: bool = False

    def parts(self) -> tuple[Stage, ...]:
        """The stage itself and all that runs with it."""
        return (self, *self.beside, *self.meanwhile)


@dataclass
class Result:
    """What became of a stage."""

    stage: Stage
    seconds: float
    exit_code: int
    counts: Counter[str] = field(default_factory=Counter)


#: A stage that ran beside others, and what it said.
Told = tuple[Result, str]


def python(*arguments: str) -> tuple[str, ...]:
    return (".venv/bin/python", *arguments)


def yielding(stage: Stage) -> Stage:
    """The same stage at the lowest priority."""
    return replace(stage, command=("scripts/aside.sh", *stage.command))


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
DATABASE = (Stage("database tests", python("-m", "pytest", *WITH_DATABASE, "-m", "not chaos")),)
STORIES = Stage("stories", (*WITHOUT_DATABASE, "story", "tests/model"))
# No clock decides in them, so that they can have what the e2e tests leave of the processors while they wait.
MEANWHILE = tuple(map(yielding, (*LINT, STORIES)))
CLUSTER_UP = (
    Stage("cluster up", ("scripts/cluster.sh", "up"), sets_up=True),
    Stage("images", ("scripts/cluster.sh", "images", "all"), sets_up=True),
)
CLUSTER_DOWN = Stage("cluster down", ("scripts/cluster.sh", "down"), cleans_up=True)
E2E_PYTEST = ("scripts/cluster.sh", "exec", "python", "-m", "pytest", "tests/e2e")
E2E_COMMAND = (*E2E_PYTEST, "--durations=0", "--durations-min=5", "-m")
# Most of an e2e test is waiting: three files at a time share the cluster and the operator.
# The longest files come first (tests/e2e/conftest.py), so that none goes on alone at the end.
BY_THREE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
TOGETHER = Stage(
    "e2e tests, three at a time", (*E2E_COMMAND, "not alone and not chaos and not gateway", *BY_THREE)
)
E2E_ONE_CLUSTER = (TOGETHER, Stage("e2e tests, one at a time", (*E2E_COMMAND, "alone and not chaos")))
# Tests that cannot share an operator go on at the same time on a cluster of their own; what is left of them then
# comes after the others, on theirs.
SECOND_DOWN = Stage("second cluster down", ("scripts/cluster.sh", "down"), cleans_up=True, second=True)
E2E_TWO_CLUSTERS = (
    replace(
        TOGETHER,
        beside=(
            Stage("second cluster up", ("scripts/cluster.sh", "up"), sets_up=True, second=True),
            Stage(
                "second cluster's images", ("scripts/cluster.sh", "images", "all"), sets_up=True, second=True
            ),
            Stage("e2e tests, elsewhere", (*E2E_COMMAND, "elsewhere and not chaos"), second=True),
        ),
    ),
    Stage("e2e tests, one at a time", (*E2E_COMMAND, "alone and not chaos and not elsewhere")),
)
# Holds the API server's audit log of this run against what the chart grants: only the local way has one.
PRIVILEGES = Stage("privileges", ("scripts/cluster.sh", "exec", "python", "-m", "pytest", "tests/privileges"))
PACKAGES = Stage("packages", ("scripts/packages.sh",), sets_up=True)

(UNIT_TESTS,) = UNIT
(DATABASE_TESTS,) = DATABASE
FIRST = replace(UNIT_TESTS, beside=CLUSTER_UP, meanwhile=(DATABASE_TESTS, *MEANWHILE))

RUNS: dict[str, tuple[Stage, ...]] = {
    "lint": LINT,
    "test-unit": UNIT,
    "test-e2e": (PACKAGES, *CLUSTER_UP, *E2E_TWO_CLUSTERS, PRIVILEGES, SECOND_DOWN),
    "test": (PACKAGES, FIRST, *E2E_TWO_CLUSTERS, PRIVILEGES, SECOND_DOWN, CLUSTER_DOWN),
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
    """Runs stages and passes an interruption on to those that run."""

    def __init__(self) -> None:
        self.children: set[subprocess.Popen[str]] = set()
        self.interrupted = False
        self.stopped = False
        started = datetime.now(UTC).isoformat()
        self.environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "MC_RUN_STARTED": started,
            "MC_SECOND_INSTANCE": SECOND_INSTANCE,
        }

    def interrupt(self, signum: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        for child in list(self.children):
            if child.poll() is None:
                os.killpg(child.pid, signum)

    def run(self, stage: Stage, others: ThreadPoolExecutor) -> tuple[list[Result], Future[list[Told]]]:
        """Results of the stage and of what ran beside it, and what comes of the rest."""
        meanwhile = others.submit(self.lane, stage.meanwhile, lambda: self.interrupted)
        beside = others.submit(self.lane, stage.beside, lambda: self.interrupted or self.stopped)
        result = self.run_one(stage, sys.stdout)
        return [result, *tell(beside.result())], meanwhile

    def lane(self, stages: Iterable[Stage], over: Callable[[], bool]) -> list[Told]:
        """One stage after the other, as long as it is not over."""
        told = []
        for stage in stages:
            if over():
                break
            told.append(self.run_quietly(stage))
            if stage.sets_up and told[-1][0].exit_code != 0:
                self.stopped = True
        return told

    def run_quietly(self, stage: Stage) -> Told:
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
        meanwhile: list[Future[list[Told]]] = []
        lanes = sum(bool(lane) for stage in stages for lane in (stage.beside, stage.meanwhile))
        # One more than can be busy, so that none ever waits for another's end.
        with ThreadPoolExecutor(lanes + 1) as others:
            for stage in stages:
                if stage.cleans_up and keep:
                    continue
                if (self.stopped or self.interrupted) and not stage.cleans_up:
                    continue
                ended, going_on = self.run(stage, others)
                if stage.sets_up and ended[0].exit_code != 0:
                    self.stopped = True
                results += ended
                meanwhile.append(going_on)
            return results + tell(itertools.chain.from_iterable(lane.result() for lane in meanwhile))


def tell(told: Iterable[Told]) -> list[Result]:
    """Print what stages said that ran beside others; their results."""
    results = []
    for result, said in told:
        sys.stdout.write(said)
        results.append(result)
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
    every = itertools.chain.from_iterable(stage.parts() for stage in stages)
    missed = [s.name for s in every if s.name not in reached and not (s.cleans_up and keep)]
    report(results, missed, notes)
    skipped = sum(result.counts["skipped"] for result in results)
    if skipped:
        print(f"  {skipped} skipped: a test that did not run proves nothing, so this run has failed")
    print(closing_line(results, time.monotonic() - started), flush=True)
    failed = any(r.exit_code != 0 or any(r.counts[name] for name in FAILING) for r in results)
    return 1 if failed or missed or runner.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
