"""Taking back from every state that an upgrade can be in: what comes of it, and what is said where it does not go.

Each case is a way to get there on mc's own migrations. docs/backout.md is the table of them.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.migrator.conftest import FEW_ROWS
from tests.migrator.halts import Halt, install, kill_at
from tests.migrator.plane import MC_MIGRATIONS, Plane
from tests.migrator.test_refusals import says

from migrator.lines import Event
from migrator.request import Verb

UP = ("1.0.0", "1.1.0")
OWNERS = "SELECT md5(string_agg(id || owner, ',' ORDER BY id)) FROM executions"
GREEN_WRITES = (
    "INSERT INTO executions (id, tenant, owner_name, owner_email, name) VALUES"
    " (md5('green')::uuid, 'acme', 'Grace', 'grace@example.org', 'by green')"
)
BLUE_WRITES = (
    "INSERT INTO executions (id, tenant, owner, name) VALUES"
    " (md5('blue')::uuid, 'acme', 'Ada <ada@example.org>', 'by blue')"
)


def nothing(_plane: Plane) -> None:
    """The intent of the expand step is written, and its Job never came to the database."""


def expand_killed(plane: Plane) -> None:
    install(plane)
    killed(plane, Halt(Verb.EXPAND, Event.APPLIED, 1, "commit"))


def expanded(plane: Plane) -> None:
    plane.done("expand", *UP)


def written_on_the_expanded_schema(plane: Plane) -> None:
    expanded(plane)
    plane.execute(BLUE_WRITES)
    plane.execute(GREEN_WRITES)


def backfill_killed(plane: Plane) -> None:
    install(plane)
    expanded(plane)
    plane.settings["MIGRATOR_BATCH_ROWS"] = "50"
    killed(plane, Halt(Verb.MIGRATE, Event.BATCH, 3, "commit"))
    assert plane.done("inspect", *UP)["divergence"] > 0


def migrated(plane: Plane) -> None:
    expanded(plane)
    assert plane.done("migrate", *UP)["divergence"] == 0


def users_on_green(plane: Plane) -> None:
    """After the switch, with what either version wrote: synchronised, so that nothing would be lost."""
    migrated(plane)
    plane.execute(GREEN_WRITES)
    plane.execute(BLUE_WRITES)


def backout_killed(plane: Plane) -> None:
    install(plane)
    users_on_green(plane)
    killed(plane, Halt(Verb.BACKOUT, Event.APPLIED, 1, "commit"))


def killed(plane: Plane, halt: Halt) -> None:
    environment, arguments = plane.asked(halt.phase.value, *UP)
    assert kill_at(plane, halt, "runner", arguments, environment) == -signal.SIGKILL


@pytest.mark.parametrize(
    "state",
    [
        nothing,
        expand_killed,
        expanded,
        written_on_the_expanded_schema,
        backfill_killed,
        migrated,
        users_on_green,
        backout_killed,
    ],
)
def test_the_schema_is_blue_s_again_and_no_row_is_lost(small: Plane, state: Callable[[Plane], None]) -> None:
    blue = small.schema()
    state(small)
    rows, owners = small.value("SELECT count(*) FROM executions"), small.value(OWNERS)

    assert small.done("backout", *UP, attempt="2")["state"] == "backed-out"

    assert small.schema() == blue
    assert (small.value("SELECT count(*) FROM executions"), small.value(OWNERS)) == (rows, owners)
    assert rows >= FEW_ROWS
    line = small.events()[-1]
    assert line == ("backout", "applied", "1.1.0", "backed-out")
    again = small.done("backout", *UP, attempt="3")
    assert again["message"] == "nothing to do, the ledger shows it done"
    says(small.run("expand", *UP, attempt="9"), 1, "BackedOut", "new upgrade")
    # The halts are for first attempts.
    assert small.done("expand", *UP, upgrade="u2", attempt="2")["state"] == "expanded", (
        "a new upgrade may try again"
    )


@dataclass(frozen=True)
class InTheWay:
    """What keeps a backout from going, what is said about it, and what mends it."""

    put: Callable[[Plane], None]
    exit_code: int
    words: tuple[str, ...]
    mend: Callable[[Plane], dict[str, str]]


def green_alone_knows(plane: Plane) -> None:
    """A row that synchronisation was kept from: the new shape says what the old one does not."""
    migrated(plane)
    plane.execute(
        "ALTER TABLE executions DISABLE TRIGGER executions_owner_sync; UPDATE executions SET owner_name = 'Grace'"
        " WHERE id = md5('execution 1')::uuid; ALTER TABLE executions ENABLE TRIGGER executions_owner_sync"
    )


def in_doubt(plane: Plane) -> None:
    users_on_green(plane)
    with plane.connection() as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE executions SET state = 'running' WHERE id = md5('green')::uuid")
        connection.execute(f"PREPARE TRANSACTION '{gid(plane)}'")


def gid(plane: Plane) -> str:
    return f"doubt of {plane.value('SELECT current_database()')}"


def end_it(plane: Plane) -> dict[str, str]:
    plane.execute(f"ROLLBACK PREPARED '{gid(plane)}'")
    return {}


def broken_backout(plane: Plane) -> None:
    bring(plane, "-- as it was\nALTER TABLE executions DROP COLUMN owner_nam;")
    migrated(plane)


def no_backout(plane: Plane) -> None:
    bring(plane, None)
    migrated(plane)


def bring(plane: Plane, backout: str | None) -> None:
    files = {
        f"{version.name}/{file.name}": file.read_text()
        for version in sorted(MC_MIGRATIONS.iterdir())
        if version.is_dir()
        for file in version.iterdir()
    }
    files.pop("1.1.0/backout.sql")
    plane.write_files(files | ({"1.1.0/backout.sql": backout} if backout else {}))


def right_files(plane: Plane) -> dict[str, str]:
    plane.migrations = MC_MIGRATIONS
    return {}


def person_accepts(_plane: Plane) -> dict[str, str]:
    return {"accept_loss": "yes"}


@pytest.mark.parametrize(
    "case",
    [
        InTheWay(green_alone_knows, 1, ("DivergenceLeft", "1 rows differ", "--accept-loss"), person_accepts),
        InTheWay(
            in_doubt, 2, ("LockNotGranted", "prepared transaction 'doubt of", "ROLLBACK PREPARED"), end_it
        ),
        InTheWay(
            broken_backout,
            1,
            ("SqlFailed", "1.1.0/backout.sql line 2", "owner_nam", "mend the file"),
            right_files,
        ),
        InTheWay(no_backout, 1, ("BackoutMissing", "no backout.sql", "or keep the schema"), right_files),
    ],
    ids=lambda case: case.put.__name__,
)
def test_what_is_in_the_way_is_named_with_its_mend_and_the_next_attempt_goes(
    small: Plane, case: InTheWay
) -> None:
    blue = small.schema()
    small.settings |= {"MIGRATOR_TRIES": "2", "MIGRATOR_LOCK_TIMEOUT_MS": "50", "MIGRATOR_BACKOFF_MS": "10"}
    case.put(small)
    before = small.schema()
    says(small.run("backout", *UP), case.exit_code, *case.words)
    assert small.schema() == before, "half of it is never there"
    assert small.done("inspect", *UP)["state"] == "migrated"

    more = case.mend(small)
    assert small.done("backout", *UP, attempt="2", **more)["state"] == "backed-out"
    assert small.schema() == blue


def test_of_several_versions_the_newest_goes_first_and_half_of_them_is_no_trouble(small: Plane) -> None:
    """The second version's expand failed: the first one's is there, and both are closed."""
    blue = small.schema()
    bring(small, (MC_MIGRATIONS / "1.1.0" / "backout.sql").read_text())
    folder = small.migrations
    small.write_files({"1.2.0/expand.sql": "ALTER TABLE no_such_table ADD COLUMN third text;"})
    assert small.migrations == folder
    says(small.run("expand", "1.0.0", "1.2.0"), 1, "SqlFailed", "1.2.0/expand.sql")
    assert small.done("inspect", "1.0.0", "1.2.0")["versions"]["1.1.0"] == "expanded"

    assert small.done("backout", "1.0.0", "1.2.0")["state"] == "backed-out"
    closed = [line[2] for line in small.events() if line[3] == "backed-out"]
    assert closed == ["1.2.0", "1.1.0"]
    assert small.schema() == blue


def test_once_contracted_there_is_nothing_to_go_back_to(small: Plane) -> None:
    migrated(small)
    small.done("contract", *UP)
    says(small.run("backout", *UP), 1, "ContractCommitted", "go forward", "restore the database")


@contextmanager
def paused(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def test_a_runner_that_slept_through_the_backout_changes_nothing_afterwards(medium: Plane) -> None:
    """The migrate Job on a node that does not answer: the backout fences it off and waits for nobody."""
    medium.done("expand", *UP)
    blue: list[tuple[Any, ...]]
    medium.settings["MIGRATOR_PAUSE_MS"] = "40"
    runner = medium.start("migrate", *UP)
    medium.wait_for(
        "SELECT count(*) FROM maestro_conductor.events WHERE event = 'batch'", lambda n: n >= 2, "two batches"
    )
    with paused(runner.process.pid):
        assert medium.done("backout", *UP)["state"] == "backed-out"
        blue = medium.schema()
    late = runner.outcome()
    assert late.exit_code in {1, 2}
    assert late.reason in {"ConnectionLost", "Superseded"}
    assert medium.schema() == blue
    assert medium.events()[-1] == ("backout", "applied", "1.1.0", "backed-out")
