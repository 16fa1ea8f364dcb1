"""The crash matrix as data: what is to be told, what was told already, how long the rest takes, and the table of it."""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.crash_runs import NOT_MET, SIDES

#: Kills at every write of one telling instead of at one.
STORM = "*"
#: How long a telling takes before any was measured.
FIRST_GUESS_SECONDS = 75.0
TRIES = 3
#: Told after all else: what only tells of a step that another write makes.
_LATER = re.compile(r"^create Event |^\w+ receipts |\((?:again|new epoch)\)$")


@dataclass(frozen=True)
class Task:
    """One telling to be made: the operator dies at this write, on this side of it."""

    story: str
    point: str
    side: str

    @property
    def key(self) -> str:
        return f"{self.story} | {self.point} | {self.side}"


@dataclass(frozen=True)
class Result:
    """What became of a task. `wrong` is empty when it ended as without the crash."""

    seconds: float
    requests: int
    kills: int
    wrong: tuple[str, ...] = ()
    tries: int = 1

    @property
    def good(self) -> bool:
        return not self.wrong

    @property
    def met(self) -> bool:
        return NOT_MET not in self.wrong


@dataclass
class Checkpoint:
    """What is known so far, kept in a file, so that an interrupted matrix goes on where it was."""

    path: Path
    points: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        if not path.exists():
            return cls(path)
        raw = json.loads(path.read_text())
        results = {
            key: Result(**(value | {"wrong": tuple(value["wrong"])})) for key, value in raw["results"].items()
        }
        return cls(path, raw["points"], results)

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        results = {key: asdict(result) for key, result in self.results.items()}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"points": self.points, "results": results}, indent=1) + "\n")
        fresh.replace(self.path)

    def remaining(self, tasks: Iterable[Task]) -> list[Task]:
        """Tasks without a result; one whose write did not come is tried again a few times."""

        def is_open(task: Task) -> bool:
            result = self.results.get(task.key)
            return result is None or (not result.met and result.tries < TRIES)

        return [task for task in tasks if is_open(task)]

    def add(self, task: Task, result: Result) -> Result:
        former = self.results.get(task.key)
        tries = former.tries + 1 if former is not None else 1
        kept = Result(**(vars(result) | {"tries": tries}))
        self.results[task.key] = kept
        self.write()
        return kept


def tasks_of(story: str, points: Sequence[str], *, single: re.Pattern[str] | None) -> list[Task]:
    """A storm from each side, then one kill a telling at each point that `single` fits (None: at each).

    Effects and transitions come before events, receipts and what a wait writes, so that a matrix which is cut short
    has told those.
    """
    storms = [Task(story, STORM, side) for side in SIDES]
    chosen = [point for point in points if single is None or single.search(point)]
    chosen.sort(key=lambda point: bool(_LATER.search(point)))
    return storms + [Task(story, point, side) for point in chosen for side in SIDES]


def key_of(folders: Iterable[Path], *, suffixes: Sequence[str] = (".py",)) -> str:
    """Short digest of the code that is tested and of that which tests it: other code, other matrix."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in suffixes):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def seconds_left(remaining: int, results: Mapping[str, Result], lanes: int) -> float:
    """From what tellings took so far, wall clock, lanes side by side."""
    took = [result.seconds for result in results.values() if result.seconds]
    return remaining * (statistics.mean(took) if took else FIRST_GUESS_SECONDS) / max(1, lanes)


def table(checkpoint: Checkpoint) -> list[str]:
    """Markdown: one row a write, one column a side."""
    lines: list[str] = []
    for story, points in checkpoint.points.items():
        rows = [row for point in (*points, STORM) if (row := _row(checkpoint, story, point))]
        lines += [
            f"### {story}",
            "",
            "| # | the operator writes | killed before | killed after |",
            "|---|---|---|---|",
        ]
        lines += [f"| {number} {row}" for number, row in enumerate(rows, start=1)]
        lines.append("")
    return lines


def _row(checkpoint: Checkpoint, story: str, point: str) -> str:
    found = [checkpoint.results.get(Task(story, point, side).key) for side in SIDES]
    if not any(found):
        return ""
    name = "every write, once each" if point == STORM else f"`{point}`"
    return f"| {name} | {' | '.join(_cell(result, point) for result in found)} |"


def _cell(result: Result | None, point: str) -> str:
    if result is None:
        return "-"
    if not result.met:
        return "did not come"
    kills = f", {result.kills} kills" if point == STORM else ""
    # What a failed request met is told below its number; a table has no room for it.
    return f"as without{kills}" if result.good else f"**{result.wrong[0].splitlines()[0]}**"


def totals(results: Mapping[str, Result]) -> dict[str, Any]:
    """The matrix in numbers."""
    met = [result for result in results.values() if result.met]
    return {
        "tellings": len(met),
        "kills": sum(result.kills for result in met),
        "requests": sum(result.requests for result in met),
        "bad": sum(not result.good for result in met),
        "notMet": len(results) - len(met),
    }
