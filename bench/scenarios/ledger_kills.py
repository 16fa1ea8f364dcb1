"""The ledger as a list of places to kill at, what of it must be the same after a kill, and the table of what came out.

A runner is held still inside the transaction that writes a line, as in `tests/migrator/halts.py`: before the line is
written, or while it is being committed. What is killed then is killed exactly there, whatever the machine does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenarios.crash_matrix import Checkpoint, Result, Task

#: What ends: the operator's process, the pod of the Job, the runner's session, the whole database server.
VICTIMS = ("operator", "pod", "backend", "database")
#: The work is done and its line is not written; the line is written and nothing is committed.
PLACES = ("line", "commit")
#: For readers, or once for each attempt; how many there are is the kill's own.
_OF_ATTEMPTS = frozenset({"started", "failed", "failed-over", "batch", "point"})

Json = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """The nth line of a kind that the first attempt writes, and where in its transaction."""

    phase: str
    event: str
    nth: int
    place: str

    @property
    def name(self) -> str:
        return f"{self.phase}/{self.event}/{self.nth}/{self.place}"

    @property
    def told(self) -> str:
        """For people."""
        which = f" {self.nth}" if self.event == "batch" else ""
        where = "before its line is written" if self.place == "line" else "before its line is committed"
        return f"{self.phase}: {self.event}{which}, {where}"

    @classmethod
    def parse(cls, name: str) -> Point:
        """Raises ValueError for what is no name of a point."""
        phase, event, nth, place = name.split("/")
        return cls(phase, event, int(nth), place)


def points_of(lines: Sequence[Json]) -> list[str]:
    """Every kind of line of an undisturbed upgrade, in order; of batches the first and the one in the middle."""
    kinds = list(dict.fromkeys((line["phase"], line["event"]) for line in lines if line["event"] != "failed"))
    points = []
    for phase, event in kinds:
        times = sum((line["phase"], line["event"]) == (phase, event) for line in lines)
        chosen = dict.fromkeys((1, (times + 1) // 2)) if event == "batch" else (1,)
        points += [Point(phase, event, nth, place).name for nth in chosen for place in PLACES]
    return points


def tasks_of(
    story: str, points: Sequence[str], *, victims: Sequence[str] = VICTIMS, rounds: int = 1
) -> list[Task]:
    """Each victim at each point. One that is cut short has been at every point, with every victim."""
    tasks = []
    for number in range(1, rounds + 1):
        again = f" {number}" if number > 1 else ""
        for shift in range(len(victims)):
            for place, point in enumerate(points):
                tasks.append(Task(story, point, victims[(place + shift) % len(victims)] + again))
    return tasks


def victim_of(task: Task) -> str:
    """Without the number of the round."""
    return task.side.split()[0]


def essence(lines: Sequence[Json]) -> list[Json]:
    """What of an upgrade's ledger must be the same whatever was killed: everything but the attempts."""
    kept = ("phase", "event", "version", "state", "object")
    return [{key: line[key] for key in kept} for line in lines if line["event"] not in _OF_ATTEMPTS]


def done_twice(lines: Sequence[Json]) -> list[str]:
    """Work that the ledger shows twice, or lines of an attempt that had been fenced off."""
    wrong = []
    cursors = [line["cursor"] for line in lines if line["event"] == "batch" and line["cursor"]]
    if repeated := sorted({cursor for cursor in cursors if cursors.count(cursor) > 1}):
        wrong.append(f"batches up to {', '.join(repeated)} were done twice")
    done = [
        (line["phase"], line["version"], line["object"])
        for line in lines
        if line["event"] in ("applied", "performed", "fenced", "opened")
    ]
    if repeated_steps := sorted({str(step) for step in done if done.count(step) > 1}):
        wrong.append(f"done twice: {', '.join(repeated_steps)}")
    fences = [line["fence"] for line in lines]
    if fences != sorted(fences):
        wrong.append(f"an attempt that was fenced off wrote on: {fences}")
    return wrong


def unlike(shapes: Mapping[str, Any], when: str) -> list[str]:
    """Where the two shapes of the data do not say the same."""
    wrong = []
    if shapes["old"] != shapes["new"]:
        wrong.append(f"{when}: checksum {shapes['old']} of the old shape, {shapes['new']} of the new one")
    if shapes["unlike"]:
        wrong.append(f"{when}: {shapes['unlike']} of {shapes['rows']} rows differ between the shapes")
    return wrong


def table(checkpoint: Checkpoint) -> list[str]:
    """Markdown: one row a point, one column a victim."""
    lines: list[str] = []
    for story, points in checkpoint.points.items():
        lines += [
            f"### {story}",
            "",
            f"| the runner is at | {' | '.join(VICTIMS)} |",
            "|---|" + "---|" * len(VICTIMS),
        ]
        for point in points:
            cells = " | ".join(_cell(checkpoint.results, story, point, victim) for victim in VICTIMS)
            lines.append(f"| {Point.parse(point).told} | {cells} |")
        lines.append("")
    return lines


def _cell(results: Mapping[str, Result], story: str, point: str, victim: str) -> str:
    prefix = Task(story, point, victim).key
    found = [result for key, result in results.items() if key == prefix or key.startswith(f"{prefix} ")]
    if not found:
        return "-"
    bad = [result for result in found if result.met and not result.good]
    if bad:
        return f"**{bad[0].wrong[0]}**"
    met = sum(result.met for result in found)
    return "did not come" if not met else "as without" if met == 1 else f"as without, {met} times"
