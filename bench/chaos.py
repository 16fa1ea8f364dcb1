"""The crash matrix: the real operator dies by SIGKILL at every write of an upgrade and of a rollback, under load.

Each telling must end as the one without a crash: same objects, no failed request, no Job's work done twice. What
was told already is kept, for as long as the code is the same; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.paths import cache_root
from harness import operator_install
from harness.crash_runs import Lane, Telling, lane
from harness.faults import Side
from harness.kube import ApiError, Kube, connect
from harness.operator_install import HelmError
from harness.stories import McRefusal, McUpgrade, PodinfoRollback, PodinfoUpgrade, Story
from harness.waiting import WaitError
from scenarios.crash_matrix import (
    STORM,
    Checkpoint,
    Result,
    Task,
    key_of,
    seconds_left,
    table,
    tasks_of,
    totals,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "chaos.md"
BEGIN, END = "<!-- made by `make chaos`: begin -->", "<!-- made by `make chaos`: end -->"
CODE = ("operator/conductor", "migrator/migrator", "tests/e2e/harness")
#: What only a plane with a database and workers writes; podinfo's stories cover the rest one by one.
PLANES_OWN = re.compile(r"Job|Expanding|Migrating|Contracting|BackingOut|ConfigMap|worker|HandingOver")
FAILURES = (AssertionError, WaitError, ApiError, HelmError, OSError)
#: A lane in which one telling after the other goes wrong is made anew, so often.
NEW_LANES = 5


@dataclass(frozen=True)
class Told:
    """A story of the matrix, and which of its writes are told one by one."""

    make: Callable[[Kube, str], Story]
    single: re.Pattern[str] | None = None


STORIES: dict[str, Told] = {
    "upgrade": Told(PodinfoUpgrade),
    "rollback": Told(PodinfoRollback),
    "refusal": Told(McRefusal, PLANES_OWN),
    "migration": Told(McUpgrade, PLANES_OWN),
}


class Matrix:
    """Lanes that work off one story after the other, and what they report."""

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

    def tasks(self, story: str) -> list[Task]:
        """Of a story whose points are known: everything that the options ask for."""
        points = self.checkpoint.points.get(story, [])
        single = None if self.options.all else STORIES[story].single
        found = tasks_of(story, points, single=single)
        if self.options.only:
            found = [task for task in found if re.search(self.options.only, task.key)]
        if self.options.storms:
            found = [task for task in found if task.point == STORM]
        return found

    def open_tasks(self, story: str) -> list[Task]:
        return self.checkpoint.remaining(self.tasks(story))

    def _work(self, number: int) -> None:
        # Lanes begin with different stories, so that each story's first telling is made once.
        order = self._stories[number % len(self._stories) :] + self._stories[: number % len(self._stories)]
        for story in order:
            for attempt in range(NEW_LANES):
                if story in self.checkpoint.points and not self._free(story):
                    break
                try:
                    with lane(self.kube, STORIES[story].make) as made:
                        self._tell_all(made)
                    break
                except FAILURES as error:
                    self._say(
                        f"{story}: lane {number} is given up ({attempt + 1} of {NEW_LANES}): {error}"[:2000]
                    )

    def _tell_all(self, made: Lane[Story]) -> None:
        story = made.story.name
        points = made.points()
        with self._lock:
            self.checkpoint.points.setdefault(story, list(points))
            self.checkpoint.write()
        while (task := self._next(story)) is not None:
            try:
                told = made.storm(_side(task)) if task.point == STORM else made.crash(task.point, _side(task))
            except FAILURES as error:
                self._done(task, Result(0.0, 0, 0, (f"it did not end: {error}"[:2000],)))
                raise
            self._done(task, _result(told))

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
            known = [item for name in self._stories for item in self.tasks(name)]
            left = [item for name in self._stories for item in self.open_tasks(name)]
            minutes = seconds_left(len(left), self.checkpoint.results, self.options.lanes) / 60
        outcome = "ok " if kept.good else "BAD" if kept.met else "-- "
        self._say(
            f"[{len(known) - len(left)}/{len(known)}, about {minutes:.0f} min left] {outcome} {task.key}: "
            f"{result.seconds:.0f} s, {result.requests} requests, {result.kills} kill(s)"
        )
        for fault in kept.wrong:
            self._say(f"      {fault}")

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _side(task: Task) -> Side:
    return "before" if task.side == "before" else "after"


def _result(told: Telling) -> Result:
    return Result(round(told.seconds, 1), told.requests, len(told.killed_at), told.wrong)


def write_docs(checkpoint: Checkpoint) -> None:
    """Put the table between its marks."""
    text = DOCS.read_text()
    numbers = totals(checkpoint.results)
    told = (
        f"{numbers['tellings']} tellings, {numbers['kills']} kills, {numbers['requests']:,} requests of users: "
        f"{numbers['bad']} ended otherwise than without a crash."
    )
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    DOCS.write_text("\n".join([head + BEGIN, "", told, "", *table(checkpoint)]) + END + tail)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--story", action="append", choices=sorted(STORIES), help="only this one (may be repeated)"
    )
    parser.add_argument(
        "--only", default="", help="only tasks that this regular expression finds: `Job.*before`"
    )
    parser.add_argument("--storms", action="store_true", help="only the tellings that kill at every write")
    parser.add_argument(
        "--all", action="store_true", help="kill one by one at every write of mc's stories as well"
    )
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
    key = key_of(ROOT / folder for folder in CODE)
    path = cache_root() / "chaos" / f"{key}.json"
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
    bad = {key: result for key, result in checkpoint.results.items() if result.met and not result.good}
    if options.list:
        print(
            "\n".join(
                f"{'ok ' if result.good else 'BAD'} {key}" for key, result in checkpoint.results.items()
            )
        )
    if options.docs:
        write_docs(checkpoint)
    document: dict[str, Any] = {**totals(checkpoint.results), "points": checkpoint.points, "bad": list(bad)}
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(totals(checkpoint.results)))
    return 1 if bad or not checkpoint.results else 0


if __name__ == "__main__":
    sys.exit(main())
