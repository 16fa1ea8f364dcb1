"""The runner, its backend and the database killed at every kind of line that the ledger can hold.

The list is the code's own (`lines.LINES`): a kind of line that is added there is killed here. Of each kind one way is
part of `make test`, all of them are run by `make chaos-migrations`.
"""

from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
from tests.migrator.halts import ENDS, PLACES, Halt, install, kill_at, until_it_answers
from tests.migrator.plane import Plane
from tests.migrator.server import Server
from tests.migrator.test_tool import FILES as OF_THE_TOOL

from migrator.lines import LINES, Event
from migrator.request import Verb

ROWS = 25
FILES = {
    "1.0.0/expand.sql": "CREATE TABLE told (n integer PRIMARY KEY, what text NOT NULL);",
    "1.1.0/expand.sql": "ALTER TABLE told ADD COLUMN second text;",
    "1.1.0/migrate.sql": "UPDATE told SET second = what WHERE n IN (SELECT n FROM told WHERE second IS NULL LIMIT 10)",
    "1.1.0/online.sql": "CREATE UNIQUE INDEX CONCURRENTLY told_second ON told (second);",
    "1.1.0/divergence.sql": "SELECT count(*) FROM told WHERE second IS DISTINCT FROM what",
    "1.1.0/contract.sql": "ALTER TABLE told DROP COLUMN what;",
    "1.1.0/backout.sql": "ALTER TABLE told DROP COLUMN second;",
}
TOOL_FILES = {**OF_THE_TOOL, "1.0.0/expand.sql": FILES["1.0.0/expand.sql"]}
#: Login roles belong to the whole server; each killed run opens or fences one of its own.
OF_LOGINS = (Event.OPENED, Event.FENCED)
BEFORE = {Verb.EXPAND: [], Verb.MIGRATE: ["expand"], Verb.CONTRACT: ["expand", "migrate"]}
BEFORE[Verb.BACKOUT] = BEFORE[Verb.CONTRACT]
NOTHING_WAITS = {
    "MIGRATOR_STATEMENT_TIMEOUT_MS": "60000",
    "MIGRATOR_BACKOFF_MS": "20",
    "MIGRATOR_PAUSE_MS": "1",
}
_NAMES = count(1)

EVERY_WAY = tuple(product(PLACES, ENDS))


def matrix() -> Iterator[Any]:
    """Every kind of line, every place, every end; the first of `make test` changes from kind to kind."""
    for number, (phase, event) in enumerate(sorted(LINES)):
        chosen = EVERY_WAY[number % 2], EVERY_WAY[3 + number % 2]
        for place, end in EVERY_WAY:
            common = event not in (Event.FAILED, Event.FAILED_OVER) and not of_a_tool(phase, event)
            quick = common and (place, end) == chosen[number // 2 % 2]
            nth = 2 if event is Event.BATCH else 1
            yield pytest.param(
                Halt(phase, event, nth, place),
                end,
                id=f"{phase.value}, {event.value}, {place}, {end}",
                marks=() if quick else pytest.mark.chaos,
            )


def of_a_tool(phase: Verb, event: Event) -> bool:
    """Of these phases an intent is written around a tool only; of migrate, around an index too."""
    return event is Event.INTENT and phase is not Verb.MIGRATE


@pytest.fixture(scope="module")
def templates(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[Verb, str]:
    """For each phase a database that has come so far."""
    made: dict[Verb, str] = {}
    for phase, before in BEFORE.items():
        made[phase] = f"before_{phase.value}"
        plane = Plane(
            server.create(made[phase]), tmp_path_factory.mktemp(made[phase]), settings=NOTHING_WAITS
        )
        plane.write_files(FILES)
        plane.done("expand", "", "1.0.0", upgrade="u0")
        plane.execute(f"INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, {ROWS}) AS n")
        install(plane)
        for verb in before:
            plane.done(verb, "1.0.0", "1.1.0")
    return made


@pytest.fixture
def plane(server: Server, templates: dict[Verb, str], halt: Halt, tmp_path: Path) -> Iterator[Plane]:
    name = f"killed_{next(_NAMES)}"
    tool = of_a_tool(halt.phase, halt.event)
    template = templates[Verb.EXPAND if tool else halt.phase]
    made = Plane(server.create(name, template), tmp_path, settings=dict(NOTHING_WAITS))
    made.settings["MIGRATOR_CONNECT_SECONDS"] = "20"
    made.write_files(TOOL_FILES if tool else FILES)
    for verb in BEFORE[halt.phase] if tool else ():
        made.done(verb, "1.0.0", "1.1.0")
    yield made
    server.drop(name)


@pytest.mark.parametrize(("halt", "end"), list(matrix()))
def test_a_kill_changes_nothing_of_what_comes_out(plane: Plane, halt: Halt, end: str) -> None:
    provoke(plane, halt)
    # The tests' server commits before it has written: what was prepared here must be there after a crash.
    plane.execute("CHECKPOINT")
    logins = logins_of(plane, halt)
    environment, arguments = plane.asked(halt.phase.value, "1.0.0", "1.1.0", **logins)
    code = kill_at(plane, halt, end, arguments, environment)
    if end == "database":
        until_it_answers(plane)
    # A runner that lost its backend says that it is worth another try, unless it failed for good just before.
    assert code == (-9 if end == "runner" else 1 if halt.event is Event.FAILED else 2)

    tool = of_a_tool(halt.phase, halt.event)
    if not tool:
        plane.write_files(FILES)
    finish(plane, halt, logins)

    if logins:
        [idle] = logins.values()
        can = plane.value(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{idle}'")
        assert can == (halt.event is Event.OPENED)
        assert once(plane, halt.event.value)
        plane.execute(f"DROP ROLE {idle}")
    assert plane.value("SELECT count(*) FROM told") == ROWS
    for event in ("applied",) if tool else ("applied", "performed", "batch"):
        assert once(plane, event), event
    fences = plane.value("SELECT array_agg(fence ORDER BY seq) FROM maestro_conductor.events")
    assert fences == sorted(fences), "after a newer attempt began, the older one wrote nothing"
    columns = {name for kind, name, _ in plane.schema() if kind == "column" and name.startswith("told.")}
    if halt.phase is Verb.BACKOUT:
        assert columns == {"told.n", "told.what"}
        return
    assert columns == {"told.n", "told.second"}
    assert plane.value("SELECT count(*) FROM told WHERE second = 'w' || n") == ROWS
    assert tool or plane.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'told_second'::regclass")
    assert plane.value("SELECT count(*) FROM maestro_conductor.permits") == 1


def provoke(plane: Plane, halt: Halt) -> None:
    """What a line about a failure needs to be written at all."""
    if halt.event is Event.FAILED:
        plane.write_files({f"1.1.0/{halt.phase.value}.sql": "SELECT 1 / 0 FROM told"})
    elif halt.event is Event.FAILED_OVER:
        plane.execute(
            "INSERT INTO maestro_conductor.events (control_plane, upgrade, attempt, fence, phase, event,"
            " from_version, to_version, system_id, timeline) SELECT control_plane, upgrade, 0, fence, phase,"
            " 'failed', from_version, to_version, '7', 1 FROM maestro_conductor.events ORDER BY seq DESC LIMIT 1"
        )


def logins_of(plane: Plane, halt: Halt) -> dict[str, str]:
    """The role that a line about one is about, as it was before."""
    if halt.event not in OF_LOGINS:
        return {}
    role = f"of_{plane.value('SELECT current_database()')}"
    plane.execute(f"CREATE ROLE {role} {'NOLOGIN' if halt.event is Event.OPENED else 'LOGIN'}")
    return {"login_idle": role}


def finish(plane: Plane, halt: Halt, logins: dict[str, str]) -> None:
    """As the operator would: the next attempt at the verb, then the verbs that follow."""
    attempt = 2
    again = plane.run(halt.phase.value, "1.0.0", "1.1.0", attempt=str(attempt), **logins)
    if halt.event is Event.FAILED_OVER:
        assert again.reason == "FailedOver", "the line was undone with its transaction, so it is told again"
        attempt += 1
        again = plane.run(halt.phase.value, "1.0.0", "1.1.0", attempt=str(attempt))
    assert again.exit_code == 0, again.output
    following = {Verb.EXPAND: ("migrate", "contract"), Verb.MIGRATE: ("contract",)}
    for verb in following.get(halt.phase, ()):
        plane.done(verb, "1.0.0", "1.1.0", attempt=str(attempt))


def once(plane: Plane, event: str) -> bool:
    """Whether nothing of that kind is told twice, and batches are as many as the rows need."""
    with plane.connection() as connection:
        lines = connection.execute(
            "SELECT phase, version, state, object, rows_done FROM maestro_conductor.events"
            " WHERE upgrade = 'u1' AND event = %s ORDER BY seq",
            (event,),
        ).fetchall()
    if event == "batch":
        return [rows for *_, rows in lines] == [10, 20, 25]
    return len(lines) == len(set(lines)) > 0
