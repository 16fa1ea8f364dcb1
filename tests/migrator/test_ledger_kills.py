"""What `bench/kill_migrations.py` does in a database, done here: the runner held at a line, and ended there by psql."""

import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest
from tests.migrator.halts import until_it_answers
from tests.migrator.plane import Plane

from scenarios.halts import (
    FOUND,
    HOLD,
    IN_THE_DATABASE,
    INSTALL,
    LEDGER,
    PERMITS,
    RELEASE,
    SHAPES,
    WAIT,
)
from scenarios.ledger_kills import Point, done_twice, essence, points_of, unlike

COLOURS = ("mc_blue", "mc_green")


@pytest.fixture
def held(small: Plane) -> Iterator[Plane]:
    """mc 1.0.0 with some rows and a login role for each colour, its ledger ready to be halted at."""
    if shutil.which("psql") is None:
        pytest.skip("psql is not here: the bundles with other versions of PostgreSQL bring the server alone")
    for role in COLOURS:
        small.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")
    small.settings |= {"MIGRATOR_CONNECT_SECONDS": "20", "MIGRATOR_BATCH_ROWS": "100"}
    psql(small, INSTALL)
    yield small
    for role in COLOURS:
        small.execute(f"DROP ROLE {role}")


def psql(plane: Plane, script: str) -> str:
    """As in the database's pod. Raises CalledProcessError."""
    command = [
        "psql",
        "--quiet",
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--set",
        "ON_ERROR_STOP=1",
        plane.url,
    ]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def once_recovered(plane: Plane, script: str) -> str:
    """A server that lost a backend may answer for a moment before it ends all others."""
    for _ in range(20):
        try:
            return psql(plane, script)
        except subprocess.CalledProcessError:
            until_it_answers(plane)
    return psql(plane, script)


def lines(plane: Plane) -> list[dict[str, object]]:
    found: list[dict[str, object]] = plane.value(LEDGER.format(upgrade="u1"))
    return found


@pytest.mark.parametrize(
    ("victim", "point"),
    [
        ("backend", Point("migrate", "batch", 2, "commit")),
        ("database", Point("expand", "applied", 1, "line")),
    ],
)
def test_what_is_held_is_ended_where_it_stands_and_the_next_attempt_ends_as_without(
    held: Plane, victim: str, point: Point
) -> None:
    plane, verbs = held, ("expand", "migrate")
    plane.execute("CHECKPOINT")
    for verb in verbs[: verbs.index(point.phase)]:
        plane.done(verb, "1.0.0", "1.1.0")
    psql(plane, HOLD.format(**vars(point)))
    told: list[str] = []

    def strike() -> None:
        try:
            told.append(psql(plane, WAIT.format(seconds=60) + IN_THE_DATABASE[victim] + FOUND))
        except subprocess.CalledProcessError:
            told.append(once_recovered(plane, FOUND))

    striking = threading.Thread(target=strike)
    striking.start()
    ended = plane.run(point.phase, "1.0.0", "1.1.0")
    striking.join(90)
    assert int(told[0].split()[-1]) > 0, "it was found at the point"
    assert ended.exit_code == 2, ended.output
    once_recovered(plane, RELEASE)

    for verb in verbs[verbs.index(point.phase) :]:
        plane.done(verb, "1.0.0", "1.1.0", attempt="2")
    shapes = plane.value(SHAPES)
    assert shapes["rows"] == 300
    assert unlike(shapes, "now") == []
    assert done_twice(lines(plane)) == []
    plane.done("contract", "1.0.0", "1.1.0", attempt="2")
    assert [(line["phase"], line["state"]) for line in essence(lines(plane))] == [
        ("expand", "expanded"),
        ("migrate", "migrated"),
        ("contract", "contracted"),
    ]
    assert plane.value(PERMITS.format(upgrade="u1")) == 1


def test_nothing_is_held_that_was_not_asked_for(held: Plane) -> None:
    for verb in ("expand", "migrate", "contract"):
        held.done(verb, "1.0.0", "1.1.0")
    assert psql(held, WAIT.format(seconds=0) + IN_THE_DATABASE["database"] + FOUND).split() == ["0"]
    points = points_of(lines(held))
    assert points[0] == "expand/started/1/line"
    assert {"migrate/batch/1/commit", "contract/applied/1/line"} <= set(points)
