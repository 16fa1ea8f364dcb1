"""The kill matrix of migrations as data: points out of a ledger, and what a telling with a kill is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenarios.crash_matrix import Checkpoint, Result, Task
from scenarios.ledger_kills import (
    VICTIMS,
    Point,
    done_twice,
    essence,
    points_of,
    table,
    tasks_of,
    unlike,
    victim_of,
)
from scenarios.migration_kills import judged


def line(phase: str, event: str, **more: Any) -> dict[str, Any]:
    plain = {"version": "1.1.0", "state": None, "object": None, "attempt": 1, "fence": 1, "cursor": None}
    return {"phase": phase, "event": event} | plain | more


PLAIN = [
    line("expand", "started"),
    line("expand", "applied", state="expanded"),
    line("migrate", "started", fence=2),
    *(line("migrate", "batch", fence=2, cursor=cursor) for cursor in ("a", "b", "c", "d", "e")),
    line("migrate", "applied", state="migrated", fence=2),
]
END = {"outcome": "Succeeded", "reason": "Succeeded", "columns": ["id", "owner_email"], "permits": 1}


def test_every_kind_of_line_is_a_point_in_two_places_and_of_batches_the_first_and_the_one_in_the_middle() -> (
    None
):
    points = points_of(PLAIN)
    assert points[:2] == ["expand/started/1/line", "expand/started/1/commit"]
    assert [name for name in points if "batch" in name and "line" in name] == [
        "migrate/batch/1/line",
        "migrate/batch/3/line",
    ]
    assert len(points) == 2 * 6
    assert [Point.parse(name).name for name in points] == points


def test_a_run_that_is_cut_short_has_been_at_every_point() -> None:
    points = points_of(PLAIN)
    tasks = tasks_of("contracted", points)
    assert len({task.key for task in tasks}) == len(points) * len(VICTIMS)
    begun = tasks[: len(points)]
    assert {task.point for task in begun} == set(points)
    assert {task.side for task in begun} == set(VICTIMS)


def test_a_second_round_is_told_beside_the_first() -> None:
    tasks = tasks_of("contracted", points_of(PLAIN), victims=("pod",), rounds=2)
    assert len({task.key for task in tasks}) == 24
    assert {victim_of(task) for task in tasks} == {"pod"}


def test_attempts_make_no_difference_and_work_done_twice_does() -> None:
    killed = [*PLAIN[:4], line("migrate", "failed", fence=2), line("migrate", "started", attempt=2, fence=3)]
    killed += [dict(item, attempt=2, fence=3) for item in PLAIN[4:]]
    assert essence(killed) == essence(PLAIN)
    assert done_twice(killed) == []
    assert done_twice([*PLAIN, PLAIN[5]]) == ["batches up to c were done twice"]
    assert done_twice([*PLAIN, PLAIN[-1]]) == ["done twice: ('migrate', '1.1.0', None)"]
    assert done_twice([*PLAIN, PLAIN[0]]) == [
        "an attempt that was fenced off wrote on: [1, 1, 2, 2, 2, 2, 2, 2, 2, 1]"
    ]


def test_shapes_that_do_not_say_the_same_are_told() -> None:
    same = {"rows": 10, "old": "aa", "new": "aa", "unlike": 0}
    assert unlike(same, "after") == []
    assert unlike(same | {"new": "bb", "unlike": 1}, "after") == [
        "after: checksum aa of the old shape, bb of the new one",
        "after: 1 of 10 rows differ between the shapes",
    ]


@pytest.mark.parametrize("victim", ["operator", "pod", "backend"])
def test_only_a_database_that_was_away_excuses_an_upgrade_that_was_given_up(victim: str) -> None:
    given_up = {"outcome": "Refused", "reason": "ActiveUnhealthy", "columns": ["id", "owner"], "permits": 0}
    assert judged(END, END, victim) == []
    assert judged(END, given_up, victim)
    assert judged(END, given_up, "database") == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reason": "Superseded"}, "given up as Superseded"),
        ({"permits": 1}, "a permit to contract is consumed"),
        ({"columns": ["id", "owner", "owner_name"]}, "the expand step was not taken back"),
        ({"columns": ["id"]}, "the old shape is gone"),
    ],
)
def test_what_was_given_up_must_have_been_taken_back(more: dict[str, Any], said: str) -> None:
    found = {"outcome": "Refused", "reason": "Unhealthy", "columns": ["id", "owner"], "permits": 0} | more
    (wrong,) = judged(END, found, "database")
    assert said in wrong


def test_the_table_tells_what_went_otherwise(tmp_path: Path) -> None:
    point = "migrate/batch/3/commit"
    checkpoint = Checkpoint(tmp_path / "kills.json", {"contracted": [point]})
    checkpoint.add(Task("contracted", point, "pod"), Result(60.0, 900, 1))
    checkpoint.add(Task("contracted", point, "pod 2"), Result(60.0, 900, 1))
    checkpoint.add(
        Task("contracted", point, "backend"), Result(60.0, 900, 1, ("2 acknowledged ids are missing",))
    )
    assert table(checkpoint)[4] == (
        "| migrate: batch 3, before its line is committed | - | as without, 2 times "
        "| **2 acknowledged ids are missing** | - |"
    )
