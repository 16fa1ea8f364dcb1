"""A tool of the application's own in place of SQL files: the ledger around it, its state, and what is refused.

The tool is one of the tests' own (own_tool.py); test_known_tools.py and test_flyway.py run known ones.
"""

import io
import json
import sys
from pathlib import Path

import pytest
from tests.migrator import own_tool
from tests.migrator.plane import Plane
from tests.migrator.server import Server
from tests.migrator.test_refusals import says

from migrator.lint.command import CLEAN, FOUND, main

PROGRAM = [sys.executable, str(Path(own_tool.__file__))]
TOOL = {
    "state": [*PROGRAM, "state"],
    "forward": [*PROGRAM, "forward", "{target}"],
    "back": [*PROGRAM, "back", "{target}"],
    "statePattern": r"^revision: (\S+)$",
}
TARGETS = {"before": "r0", "expand": "r1", "migrate": "r2", "contract": "r3"}
FILES = {
    "1.0.0/expand.sql": "CREATE TABLE told (n integer PRIMARY KEY, what text NOT NULL);",
    "tool.json": json.dumps(TOOL),
    "1.1.0/targets.json": json.dumps(TARGETS),
    "1.1.0/divergence.sql": "SELECT count(*) FROM told WHERE second IS DISTINCT FROM what",
}
INTENTS = "SELECT array_agg(phase || ' ' || object ORDER BY seq) FROM maestro_conductor.events WHERE event = 'intent'"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name LIKE 'migrator-tool%' AND wait_event = 'relation'"
)
AT = "SELECT at FROM own_tool"


@pytest.fixture
def told(blank: Plane) -> Plane:
    blank.write_files(FILES)
    blank.done("expand", "", "1.0.0", upgrade="u0")
    blank.execute("INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, 25) AS n")
    return blank


def test_a_tool_is_moved_phase_by_phase_and_its_state_has_the_last_word(told: Plane) -> None:
    for verb, state, at in (
        ("expand", "expanded", "r1"),
        ("migrate", "migrated", "r2"),
        ("contract", "contracted", "r3"),
    ):
        answer = told.done(verb, "1.0.0", "1.1.0")
        assert (answer["state"], told.value(AT)) == (state, at)
    assert told.value("SELECT count(*) FROM told WHERE second = 'w' || n") == 25
    assert told.value(INTENTS) == ["expand r1", "migrate r2", "contract r3"]
    assert told.value("SELECT count(*) FROM maestro_conductor.permits") == 1
    lines = told.value("SELECT count(*) FROM maestro_conductor.events")
    told.done("contract", "1.0.0", "1.1.0", attempt="2")
    assert told.value("SELECT count(*) FROM maestro_conductor.events") == lines


def test_a_tool_is_moved_back_from_wherever_it_came_to(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    told.execute("UPDATE told SET second = 'other' WHERE n = 1")
    says(told.run("backout", "1.0.0", "1.1.0"), 1, "DivergenceLeft", "1 rows")
    assert told.done("backout", "1.0.0", "1.1.0", accept_loss="yes")["state"] == "backed-out"
    assert told.value(AT) == "r0"
    assert told.done("expand", "1.0.0", "1.1.0", upgrade="u2")["state"] == "expanded"


def test_a_tool_that_fails_or_stands_elsewhere_is_told_with_what_it_said(told: Plane) -> None:
    told.execute("ALTER TABLE told ADD COLUMN second text")
    failed = told.run("expand", "1.0.0", "1.1.0")
    says(failed, 1, "ToolFailed", "ended with 1", 'column "second" of relation "told" already exists')
    told.execute("ALTER TABLE told DROP COLUMN second")
    assert told.done("expand", "1.0.0", "1.1.0", attempt="2")["state"] == "expanded"

    told.execute("UPDATE own_tool SET at = 'r7'")
    says(told.run("migrate", "1.0.0", "1.1.0"), 1, "StateUnexpected", "'r7'", "'r1'")
    told.execute("UPDATE own_tool SET at = 'r1'")
    told.write_files({"tool.json": json.dumps({**TOOL, "forward": ["true", "{target}"]})})
    says(
        told.run("migrate", "1.0.0", "1.1.0", attempt="2"),
        1,
        "StateUnexpected",
        "ended with 0",
        "'r1'",
        "'r2'",
    )


def test_what_a_killed_runner_left_of_its_tool_is_ended_by_the_next_attempt(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.settings["MIGRATOR_LOCK_TIMEOUT_MS"] = "60000"
    with told.connection() as user, user.transaction():
        user.execute("LOCK TABLE told IN SHARE MODE")
        runner = told.start("migrate", "1.0.0", "1.1.0")
        told.wait_for(WAITING, lambda n: n == 1, "the tool to wait for its lock")
        runner.kill()
        assert told.value(WAITING) == 1, "the tool lives on"
        told.settings["MIGRATOR_LOCK_TIMEOUT_MS"] = "100"
        second = told.run("migrate", "1.0.0", "1.1.0", attempt="2")
        assert "backend of an older attempt's tool ended" in second.output
        assert second.reason == "ToolFailed"
        assert told.value(WAITING) == 0
    assert told.done("migrate", "1.0.0", "1.1.0", attempt="3")["state"] == "migrated"


def doing(step: str, statement: str) -> dict[str, str]:
    """The same tool with another step in it."""
    forward = ["env", f"OWN_TOOL_{step}={statement}", *PROGRAM, "forward", "{target}"]
    return {"tool.json": json.dumps({**TOOL, "forward": forward})}


@pytest.mark.parametrize(
    ("statement", "rule", "said"),
    [
        ("ALTER TABLE told DROP COLUMN extra", "dropped", "column told.extra is dropped"),
        ("ALTER TABLE told RENAME COLUMN extra TO other", "renamed", "column told.extra becomes told.other"),
        ("ALTER TABLE told ALTER COLUMN extra TYPE varchar(3)", "type-changed", "column told.extra"),
        ("ALTER TABLE told ADD COLUMN second text NOT NULL DEFAULT ''; "
         "ALTER TABLE told ALTER COLUMN second DROP DEFAULT", "required-column", "column told.second"),
    ],
)  # fmt: skip
def test_an_expand_of_the_tool_that_takes_from_the_old_version_is_found(
    told: Plane, statement: str, rule: str, said: str
) -> None:
    told.execute("ALTER TABLE told ADD COLUMN extra text")
    told.write_files(doing("EXPAND", statement))
    says(
        told.run("expand", "1.0.0", "1.1.0"),
        1,
        "PhaseBreach",
        "1.1.0/targets.json",
        "'r1'",
        said,
        rule,
        "'r0'",
    )


def test_what_was_found_is_found_again_until_the_tool_was_moved_back(told: Plane) -> None:
    """It is committed: a second attempt finds nothing to move, and is told the same."""
    told.write_files(doing("EXPAND", "ALTER TABLE told ADD COLUMN second text; DROP INDEX told_what"))
    told.execute("CREATE INDEX told_what ON told (what)")
    for attempt in ("1", "2"):
        refused = told.run("expand", "1.0.0", "1.1.0", attempt=attempt)
        says(refused, 1, "PhaseBreach", "index told_what is dropped")
    assert told.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out"
    assert told.value(AT) == "r0"
    told.write_files({"tool.json": json.dumps(TOOL)})
    assert told.done("expand", "1.0.0", "1.1.0", upgrade="u2")["state"] == "expanded"


def test_a_migrate_of_the_tool_that_changes_the_schema_is_found(told: Plane) -> None:
    told.write_files(doing("MIGRATE", "UPDATE told SET second = what; CREATE TABLE more (n integer)"))
    told.done("expand", "1.0.0", "1.1.0")
    said = ("column more.n is added by migrate", "schema-changed")
    says(told.run("migrate", "1.0.0", "1.1.0"), 1, "PhaseBreach", *said)


def test_what_is_meant_is_allowed_with_its_reason(told: Plane) -> None:
    told.execute("ALTER TABLE told ADD COLUMN extra text")
    allowed = {**TARGETS, "allow": {"dropped": "nobody reads extra"}}
    told.write_files(
        {
            **doing("EXPAND", "ALTER TABLE told ADD COLUMN second text, DROP COLUMN extra"),
            "1.1.0/targets.json": json.dumps(allowed),
        }
    )
    done = told.run("expand", "1.0.0", "1.1.0")
    assert done.exit_code == 0, done.output
    assert '"because":"nobody reads extra"' in done.output


def test_what_contract_took_from_the_version_that_serves_is_told_with_the_answer(told: Plane) -> None:
    told.execute("ALTER TABLE told ADD COLUMN extra text")
    told.write_files(doing("CONTRACT", "ALTER TABLE told RENAME COLUMN extra TO other"))
    for phase in ("expand", "migrate"):
        told.done(phase, "1.0.0", "1.1.0")
    done = told.done("contract", "1.0.0", "1.1.0")
    assert done["state"] == "contracted"
    for word in (
        "1.1.0/targets.json: column told.extra becomes told.other",
        "renamed",
        "expand.sql of a later version",
    ):
        assert word in done["message"]


def test_what_a_killed_attempt_had_begun_is_compared_with_where_it_began(told: Plane) -> None:
    """The tool lives on after its runner, and ends; the next attempt finds its work done."""
    told.execute("ALTER TABLE told ADD COLUMN extra text")
    told.write_files(doing("EXPAND", "ALTER TABLE told DROP COLUMN extra"))
    told.settings["MIGRATOR_LOCK_TIMEOUT_MS"] = "60000"
    with told.connection() as user, user.transaction():
        user.execute("LOCK TABLE told IN SHARE MODE")
        runner = told.start("expand", "1.0.0", "1.1.0")
        told.wait_for(WAITING, lambda n: n == 1, "the tool to wait for its lock")
        runner.kill()
    told.wait_for(AT, lambda at: at == "r1", "the tool to end")
    says(told.run("expand", "1.0.0", "1.1.0", attempt="2"), 1, "PhaseBreach", "column told.extra is dropped")


def test_lint_rehearses_the_tool_on_a_scratch_database(told: Plane, server: Server) -> None:
    def linted() -> tuple[int, list[dict[str, str]]]:
        out = io.StringIO()
        code = main([str(told.migrations), "--dsn", server.url("postgres"), "--json"], {}, out)
        return code, json.loads(out.getvalue())["findings"]

    assert linted() == (CLEAN, []), linted()
    told.write_files(doing("MIGRATE", "ALTER TABLE told ADD COLUMN late text"))
    code, [finding] = linted()
    assert (code, finding["rule"]) == (FOUND, "schema-changed")
    assert finding["message"] == "migrate: column told.late is added by migrate"


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (
            {"tool.json": json.dumps({**TOOL, "forward": ["psql", "-f", "{target}.sql"]})},
            ("psql", "ON_ERROR_STOP=1"),
        ),
        (
            {"tool.json": json.dumps({**TOOL, "back": ["sh", "-c", "psql -f {target}"]})},
            ("psql", "ON_ERROR_STOP=1"),
        ),
        ({"tool.json": json.dumps({**TOOL, "forward": ["true"]})}, ("'forward'", "{target}")),
        ({"tool.json": "{"}, ("tool.json", "not JSON")),
        ({"tool.json": json.dumps({**TOOL, "statePattern": "("})}, ("statePattern", "regular expression")),
        ({"1.1.0/targets.json": '{"expand": "r1"}'}, ("targets.json", "'before' is missing")),
        ({"1.1.0/targets.json": '{"before": "r0", "expnd": "r1"}'}, ("'expnd'",)),
        ({"1.1.0/targets.json": '{"before": "r0", "allow": {"dropped": ""}}'}, ("'allow'", "the reason")),
        ({"1.1.0/migrate.sql": "SELECT 1"}, ("1.1.0/migrate.sql", "beside targets.json")),
    ],
)
def test_what_can_only_go_wrong_is_refused_before(
    told: Plane, files: dict[str, str], parts: tuple[str, ...]
) -> None:
    told.write_files(files)
    refused = told.run("expand", "1.0.0", "1.1.0")
    says(refused, 1, "FilesInvalid", *parts)
    assert refused.answer["untouched"] is True


def test_psql_that_stops_at_errors_is_let_through_and_a_missing_program_is_told(told: Plane) -> None:
    stops = ["psql", "-v", "ON_ERROR_STOP=1", "-f", "{target}.sql"]
    told.write_files({"tool.json": json.dumps({**TOOL, "forward": stops, "state": ["no-such-program"]})})
    says(told.run("expand", "1.0.0", "1.1.0"), 1, "ToolFailed", "'no-such-program'", "install it")
    (told.migrations / "tool.json").unlink()
    says(told.run("expand", "1.0.0", "1.1.0", attempt="2"), 1, "FilesInvalid", "no tool.json")
