"""The kill matrix of migrations in the cluster: operator, Job pod, backend and database, at every line of the ledger.

Each telling is mc upgraded with its data while users write, with one kill in it, and must end as the one without. What
was told already is kept, for as long as the code is the same; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.paths import cache_root
from harness import operator_install
from harness.crash_runs import lane
from harness.kube import ApiError, Kube, KubectlError, connect
from harness.operator_install import HelmError
from harness.waiting import WaitError
from scenarios.crash_matrix import Checkpoint, Result, Task, key_of, seconds_left, totals
from scenarios.ledger_kills import VICTIMS, Point, table, tasks_of, victim_of
from scenarios.migration_kills import KillLane
from scenarios.migration_stories import STORIES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "chaos.md"
BEGIN, END = "<!-- made by `make chaos-ledger`: begin -->", "<!-- made by `make chaos-ledger`: end -->"
CODE = (
    "operator/conductor",
    "migrator/migrator",
    "tests/e2e/harness",
    "controlplane/migrations",
    "bench/scenarios",
)
FAILURES = (AssertionError, WaitError, ApiError, KubectlError, HelmError, OSError)
#: A lane in which one telling after the other goes wrong is made anew, so often.
NEW_LANES = 5


class Matrix:
    """Lanes that work off one story after the other."""

    def __init__(self, kube: Kube, checkpoint: Checkpoint, options: argparse.Namespace) -> None:
        self.kube = kube
        self.checkpoint = checkpoint
        self.options = options
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._stories = [name for name in STORIES if not options.story or name in options.story]

    def run(self) -> None:
        """Every lane is a thread: most of a telling is waiting."""
        workers = [
            threading.Thread(target=self._work, args=(number,)) for number in range(self.options.lanes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def open_tasks(self, story: str) -> list[Task]:
        return self.checkpoint.remaining(chosen(story, self.checkpoint, self.options))

    def _work(self, number: int) -> None:
        # Lanes begin with different stories, so that each story's first telling is made once.
        first = number % len(self._stories)
        for story in self._stories[first:] + self._stories[:first]:
            for attempt in range(NEW_LANES):
                if story in self.checkpoint.points and not self._free(story):
                    break
                try:
                    with lane(self.kube, STORIES[story]) as made:
                        self._tell_all(KillLane(self.kube, made.story, made.rig))
                    break
                except FAILURES as error:
                    said = f"{story}: lane {number} is given up ({attempt + 1} of {NEW_LANES}): {error}"
                    self._say(said[:2000])

    def _tell_all(self, made: KillLane) -> None:
        story = made.story.name
        points = made.places()
        with self._lock:
            self.checkpoint.points.setdefault(story, points)
            self.checkpoint.write()
        while (task := self._next(story)) is not None:
            try:
                told = made.kill(Point.parse(task.point), victim_of(task))
            except FAILURES as error:
                self._done(task, Result(0.0, 0, 0, (f"it did not end: {error}"[:2000],)))
                raise
            self._done(task, Result(round(told.seconds, 1), told.requests, int(told.met), told.wrong))

    def _free(self, story: str) -> list[Task]:
        return [task for task in self.open_tasks(story) if task.key not in self._taken]

    def _next(self, story: str) -> Task | None:
        with self._lock:
            task = next(iter(self._free(story)), None)
            if task is not None:
                self._taken.add(task.key)
            return task

    def _done(self, task: Task, result: Result) -> None:
        with self._lock:
            kept = self.checkpoint.add(task, result)
            self._taken.discard(task.key)
            known = sum(len(chosen(name, self.checkpoint, self.options)) for name in self._stories)
            left = sum(len(self.open_tasks(name)) for name in self._stories)
            minutes = seconds_left(left, self.checkpoint.results, self.options.lanes) / 60
        outcome = "ok " if kept.good else "BAD" if kept.met else "-- "
        self._say(
            f"[{known - left}/{known}, about {minutes:.0f} min left] {outcome} {task.key}: "
            f"{result.seconds:.0f} s, {result.requests} requests, {result.kills} kill(s)"
        )
        for fault in kept.wrong:
            self._say(f"      {fault}")

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def chosen(story: str, checkpoint: Checkpoint, options: argparse.Namespace) -> list[Task]:
    """Of a story whose points are known: everything that the options ask for."""
    points = checkpoint.points.get(story, [])
    victims = [victim for victim in VICTIMS if not options.victim or victim in options.victim]
    found = tasks_of(story, points, victims=victims, rounds=options.rounds)
    return [task for task in found if not options.only or re.search(options.only, task.key)]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--story", action="append", choices=sorted(STORIES), help="only this one (may be repeated)"
    )
    parser.add_argument("--victim", action="append", choices=VICTIMS, help="only this one (may be repeated)")
    parser.add_argument(
        "--only", default="", help="only tasks that this regular expression finds: `migrate/batch.*pod`"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often each victim is killed at each point")
    parser.add_argument("--lanes", type=int, default=2, help="namespaces that are told in at the same time")
    parser.add_argument("--fresh", action="store_true", help="forget what was told already")
    parser.add_argument(
        "--list", action="store_true", help="print the tasks that are known, and their results"
    )
    parser.add_argument("--json", default="", help="write everything to this file")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/chaos.md")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    key = key_of([*(ROOT / folder for folder in CODE)], suffixes=(".py", ".sql"))
    path = cache_root() / "chaos" / f"ledger-{key}.json"
    if options.fresh:
        path.unlink(missing_ok=True)
    checkpoint = Checkpoint.read(path)
    print(f"{len(checkpoint.results)} tellings are known for this code ({path})", flush=True)
    if not options.list:
        with connect() as kube:
            tell(kube, checkpoint, options)
    return report(checkpoint, options)


def tell(kube: Kube, checkpoint: Checkpoint, options: argparse.Namespace) -> None:
    """All of it, while no other operator looks after the namespaces."""
    if not operator_install.is_installed(kube):
        operator_install.install(kube)
    operator_install.scale(kube, 0)
    try:
        Matrix(kube, checkpoint, options).run()
    finally:
        operator_install.scale(kube, 1)


def report(checkpoint: Checkpoint, options: argparse.Namespace) -> int:
    """Prints what came out. The exit code: 1 where a telling ended otherwise, a kill never came, or none was made."""
    results = checkpoint.results
    bad = [key for key, result in results.items() if result.met and not result.good]
    missed = [key for key, result in results.items() if not result.met]
    if options.list:
        print("\n".join(f"{_mark(result)} {key}" for key, result in results.items()))
    lines = table(checkpoint)
    print("\n".join(lines))
    if options.docs:
        write_docs(checkpoint, lines)
    document: dict[str, Any] = {
        **totals(results),
        "points": checkpoint.points,
        "bad": {key: list(results[key].wrong) for key in bad},
        "missed": missed,
    }
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(totals(results)))
    return 1 if bad or missed or not results else 0


def _mark(result: Result) -> str:
    return "ok " if result.good else "BAD" if result.met else "-- "


def write_docs(checkpoint: Checkpoint, lines: Sequence[str]) -> None:
    """Put the table between its marks."""
    text = DOCS.read_text()
    numbers = totals(checkpoint.results)
    told = (
        f"{numbers['kills']} kills, {numbers['requests']:,} requests of users: "
        f"{numbers['bad']} tellings ended otherwise than without a kill."
    )
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    DOCS.write_text("\n".join([head + BEGIN, "", told, "", *lines]) + END + tail)


if __name__ == "__main__":
    sys.exit(main())
