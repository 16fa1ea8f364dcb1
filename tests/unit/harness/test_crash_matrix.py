"""The matrix as data: tasks from points, results that outlive an interruption, and the table for people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.crash_runs import NOT_MET
from scenarios.crash_matrix import (
    STORM,
    TRIES,
    Checkpoint,
    Result,
    Task,
    key_of,
    seconds_left,
    table,
    tasks_of,
    totals,
)

POINTS = ("status Preflight/Started", "create Job/mc-<upgrade>-expand-1")
GOOD = Result(20.0, 3000, 1)
BAD = Result(20.0, 3000, 1, ("1 request(s) failed",))
MISSED = Result(20.0, 3000, 0, (NOT_MET,))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "some" / "where.json", {"upgrade": list(POINTS)})


def test_every_point_is_a_task_on_either_side_and_storms_come_first() -> None:
    tasks = tasks_of("upgrade", POINTS, single=None)
    assert [(task.point, task.side) for task in tasks] == [
        (point, side) for point in (STORM, *POINTS) for side in ("before", "after")
    ]
    only_jobs = tasks_of("upgrade", POINTS, single=re.compile("Job"))
    assert {task.point for task in only_jobs} == {STORM, POINTS[1]}


def test_effects_and_transitions_are_told_before_what_tells_of_them() -> None:
    later = ["create Event Started", "patch receipts in Soaking", "status Soaking/Shedding (again)"]
    points = [later[0], "status Soaking/Shedding", later[1], later[2], "patch Service/mc-api"]
    chosen = [task.point for task in tasks_of("upgrade", points, single=None) if task.side == "after"]
    assert chosen == [STORM, "status Soaking/Shedding", "patch Service/mc-api", *later]


def test_a_matrix_goes_on_where_it_was(checkpoint: Checkpoint) -> None:
    tasks = tasks_of("upgrade", POINTS, single=None)
    checkpoint.add(tasks[0], GOOD)
    checkpoint.add(tasks[1], BAD)
    again = Checkpoint.read(checkpoint.path)
    assert again.results == checkpoint.results
    assert again.points == checkpoint.points
    assert again.remaining(tasks) == tasks[2:]


def test_a_write_that_did_not_come_is_tried_again_but_not_for_ever(checkpoint: Checkpoint) -> None:
    task = Task("upgrade", POINTS[0], "before")
    for number in range(1, TRIES + 1):
        assert checkpoint.remaining([task]) == [task]
        assert checkpoint.add(task, MISSED).tries == number
    assert checkpoint.remaining([task]) == []
    assert totals(checkpoint.results) == {"tellings": 0, "kills": 0, "requests": 0, "bad": 0, "notMet": 1}


def test_nothing_is_known_without_a_file(tmp_path: Path) -> None:
    assert Checkpoint.read(tmp_path / "none.json").results == {}


def test_the_table_tells_what_went_otherwise(checkpoint: Checkpoint) -> None:
    checkpoint.add(Task("upgrade", POINTS[0], "before"), GOOD)
    checkpoint.add(Task("upgrade", POINTS[0], "after"), BAD)
    checkpoint.add(Task("upgrade", STORM, "after"), Result(90.0, 9000, 31))
    rows = [line for line in table(checkpoint) if line.startswith("| ")]
    assert rows[1:] == [
        "| 1 | `status Preflight/Started` | as without | **1 request(s) failed** |",
        "| 2 | every write, once each | - | as without, 31 kills |",
    ]


def test_the_rest_is_estimated_from_what_was_told() -> None:
    assert seconds_left(10, {"a": GOOD, "b": Result(40.0, 1, 1)}, lanes=2) == 150.0


def test_other_code_is_another_matrix(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("a = 1\n")
    first = key_of([tmp_path])
    assert key_of([tmp_path]) == first
    (tmp_path / "one.py").write_text("a = 2\n")
    assert key_of([tmp_path]) != first
