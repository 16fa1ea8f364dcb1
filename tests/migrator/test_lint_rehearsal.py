"""Lint on a scratch database: what only a real PostgreSQL can tell of a migration's files."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.migrator.plane import MC_MIGRATIONS, Plane
from tests.migrator.server import PASSWORD, Server
from tests.migrator.test_lint_text import write

from migrator.lint.command import CLEAN, FOUND, NOT_DONE, main
from migrator.lint.findings import Finding, SqlFile, StatementFailedError
from migrator.lint.rehearsal import rehearse_phase

BASIS = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE parents (id bigint PRIMARY KEY);
CREATE TABLE t (
    id bigint PRIMARY KEY, a text, n integer DEFAULT 7, m mood, parent bigint,
    CONSTRAINT n_positive CHECK (n > 0)
);
CREATE INDEX t_a ON t (a);
CREATE VIEW v AS SELECT id, a FROM t;
CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
ALTER TABLE t ADD CONSTRAINT a_there CHECK (a IS NOT NULL) NOT VALID;
CREATE TRIGGER noticed BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION noticed();
CREATE ROLE lint_reader; GRANT SELECT ON t TO lint_reader;
"""
HIDDEN = "DO $do$ BEGIN EXECUTE '{}'; END $do$"
"""Nothing that reads the text can see into it."""

EXPAND = [
    ("DROP VIEW v; ALTER TABLE t DROP COLUMN a", {"dropped": "column t.a"}),
    ("DROP TABLE t CASCADE", {"dropped": "relation v"}),
    ("ALTER TABLE t RENAME COLUMN a TO b", {"renamed": "column t.a becomes t.b"}),
    ("ALTER VIEW v RENAME TO w", {"renamed": "relation v becomes w"}),
    ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", {"values-narrowed": "type mood"}),
    ("ALTER TABLE t ALTER COLUMN n TYPE bigint", {"type-changed": "integer becomes bigint", "table-rewritten": "t"}),
    ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", {"made-required": "column t.a", "scan-under-lock": "relation t"}),
    ("ALTER TABLE t ALTER COLUMN n DROP DEFAULT", {"default-dropped": "column t.n"}),
    ("ALTER TABLE t ADD COLUMN b text NOT NULL", {"required-column": "column t.b"}),
    ("ALTER TABLE t ADD COLUMN b float8 DEFAULT random()", {"table-rewritten": "relation t"}),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (a <> '') NOT VALID", {"values-narrowed": "constraint t.c"}),
    ("CREATE UNIQUE INDEX u ON t (a)", {"values-narrowed": "index u", "scan-under-lock": "ShareLock"}),
    ("ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES parents",
     {"values-narrowed": "t_parent_fkey", "scan-under-lock": "relation t is read"}),
    ("ALTER TABLE t DISABLE TRIGGER noticed", {"dropped": "trigger t.noticed is disabled"}),
    ("DROP INDEX t_a", {"dropped": "index t_a"}),
    ("REVOKE SELECT ON t FROM lint_reader", {"right-revoked": "r of lint_reader"}),
    ("ALTER TABLE t DROP CONSTRAINT n_positive", {"dropped": "constraint t.n_positive"}),
]  # fmt: skip
HARMLESS = """
ALTER TABLE t ADD COLUMN b text, ADD COLUMN k bigint NOT NULL DEFAULT 3;
ALTER TABLE t ADD CONSTRAINT b_there CHECK (b IS NOT NULL) NOT VALID;
ALTER TABLE t DROP CONSTRAINT n_positive; ALTER TABLE t ADD CONSTRAINT n_positive CHECK (n > 0) NOT VALID;
ALTER TYPE mood ADD VALUE 'calm';
CREATE TABLE fresh (id bigint PRIMARY KEY, t bigint NOT NULL);
CREATE UNIQUE INDEX fresh_t ON fresh (t);
CREATE OR REPLACE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.b := 'x'; RETURN NEW; END $$;
GRANT INSERT ON t TO lint_reader;
"""


MIGRATE = [
    ("ALTER TABLE t ADD COLUMN b text", {"schema-changed": "column t.b is added"}),
    ("DROP VIEW v", {"schema-changed": "relation v is dropped"}),
]
CONTRACT = [
    ("ALTER TABLE t RENAME COLUMN a TO b", {"renamed": "column t.a becomes t.b"}),
    ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", {"scan-under-lock": "AccessExclusiveLock"}),
    ("ALTER TABLE t ALTER COLUMN n TYPE bigint", {"type-changed": "integer becomes bigint"}),
]
WELL = [
    ("expand", HARMLESS),
    ("migrate", "UPDATE t SET a = 'x'; ALTER TABLE t VALIDATE CONSTRAINT a_there; CREATE INDEX t_n ON t (n)"),
    (
        "contract",
        "ALTER TABLE t VALIDATE CONSTRAINT a_there; ALTER TABLE t ALTER COLUMN a SET NOT NULL, DROP COLUMN n;"
        "DROP TABLE parents; DROP INDEX t_a",
    ),
]


@pytest.fixture(scope="module")
def scratch(server: Server) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.create("rehearsal"), autocommit=True) as connection:
        connection.execute(BASIS.encode())
        yield connection
        connection.execute("DROP OWNED BY lint_reader; DROP ROLE lint_reader")
    server.drop("rehearsal")


def rehearsed(scratch: psycopg.Connection[Any], phase: str, text: str) -> list[Finding]:
    """What the phase is told; the database is as before afterwards."""
    with scratch.transaction(force_rollback=True):
        return list(rehearse_phase(scratch, SqlFile(f"1.1.0/{phase}.sql", text)))


@pytest.mark.parametrize(
    ("phase", "cases"), [("expand", EXPAND), ("migrate", MIGRATE), ("contract", CONTRACT)]
)
def test_what_a_phase_did_to_the_catalogue_is_told_though_nobody_can_read_it(
    scratch: psycopg.Connection[Any], phase: str, cases: list[tuple[str, dict[str, str]]]
) -> None:
    for statement, expected in cases:
        hidden = HIDDEN.format(statement.replace("'", "''"))
        found = rehearsed(scratch, phase, f"SELECT 1 WHERE false;\n{hidden};\nSELECT 2 WHERE false;")

        for rule, words in expected.items():
            matching = [each for each in found if each.rule == rule and words in each.message]
            assert len(matching) == 1, (statement, found)
            finding = matching[0]
            assert (finding.file, finding.line) == (f"1.1.0/{phase}.sql", 2)
            assert finding.refuses
            assert finding.mend


@pytest.mark.parametrize(("phase", "text"), WELL)
def test_what_a_phase_may_do_is_let_through(scratch: psycopg.Connection[Any], phase: str, text: str) -> None:
    assert rehearsed(scratch, phase, text) == []


def test_mc_s_own_migrations_pass_and_leave_no_scratch_database(server: Server) -> None:
    out = io.StringIO()
    assert main([str(MC_MIGRATIONS)], {"LINT_DATABASE_URL": server.url("postgres")}, out) == CLEAN, (
        out.getvalue()
    )
    assert "0 refused, 0 warnings, 0 waived; rehearsed on a scratch database" in out.getvalue()
    with server.connect() as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'conductor_lint_%'"
        ).fetchone()
    assert left == (0,)


def test_a_backout_that_leaves_something_is_told_and_the_schema_may_come_from_a_dump(
    server: Server, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.sql"
    schema.write_text("\\restrict x\nCREATE TABLE t (id bigint PRIMARY KEY);\n")
    folder = tmp_path / "migrations"
    write(
        folder,
        {
            "1.1.0/expand.sql": "ALTER TABLE t ADD COLUMN b text;\nCREATE TABLE u (id bigint PRIMARY KEY);",
            "1.1.0/backout.sql": "ALTER TABLE t DROP COLUMN b;",
            "1.2.0/expand.sql": "\nALTER TABLE t ADD COLUMN missing nonsense;",
        },
    )
    out = io.StringIO()

    code = main([str(folder), "--dsn", server.url("postgres"), "--schema", str(schema), "--json"], {}, out)

    assert code == FOUND
    told = [(each["file"], each["line"], each["rule"]) for each in json.loads(out.getvalue())["findings"]]
    assert ("1.1.0/backout.sql", 1, "backout-incomplete") in told
    assert ("1.2.0/expand.sql", 2, "fails") in told


def test_without_a_database_to_rehearse_on_nothing_is_claimed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"1.0.0/expand.sql": "SELECT nonsense;", "1.1.0/expand.sql": "SELECT 1;"})

    assert main([str(tmp_path), "--dsn", server.url("no_such_database")], {}, io.StringIO()) == NOT_DONE
    assert main([str(tmp_path), "--dsn", server.url("postgres")], {}, io.StringIO()) == NOT_DONE

    told = capsys.readouterr().err
    assert "no connection" in told
    assert "1.0.0/expand.sql line 1" in told
    assert PASSWORD not in told


def test_the_runner_refuses_before_anything_is_changed_and_names_line_rule_and_mend(small: Plane) -> None:
    before = small.schema()
    rename = "ALTER TABLE executions RENAME COLUMN owner TO o;"
    small.write_files({"1.1.0/expand.sql": f"CREATE TABLE fresh (id bigint PRIMARY KEY);\n{rename}"})

    refused = small.run("expand", "1.0.0", "1.1.0")

    assert (refused.exit_code, refused.reason) == (1, "LintRefused")
    assert "1.1.0/expand.sql line 2" in refused.answer["message"]
    assert "renaming-column" in refused.answer["message"]
    assert "-- lint: allow renaming-column because" in refused.answer["mend"]
    assert small.schema() == before


def test_a_waived_rule_is_carried_out_and_stands_in_the_log(small: Plane) -> None:
    waiver = "-- lint: allow ban-drop-column because nobody reads it"
    waived = f"{waiver}\nALTER TABLE executions DROP COLUMN denied CASCADE;"
    small.write_files({"1.1.0/expand.sql": waived})

    done = small.run("expand", "1.0.0", "1.1.0")

    assert done.exit_code == 0, done.output
    assert '"rule":"ban-drop-column","because":"nobody reads it"' in done.output


def test_what_runs_outside_of_transactions_is_rehearsed_so(server: Server, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "1.0.0/expand.sql": "CREATE TABLE t (id bigint PRIMARY KEY, a text);",
            "1.1.0/expand.sql": "ALTER TABLE t ADD CONSTRAINT a_there CHECK (a IS NOT NULL) NOT VALID;",
            "1.1.0/online.sql": "CREATE INDEX CONCURRENTLY t_a ON t (a);\nALTER TABLE t VALIDATE CONSTRAINT a_there;",
            "1.1.0/contract.sql": "ALTER TABLE t ALTER COLUMN a SET NOT NULL;",
        },
    )
    out = io.StringIO()
    code = main([str(tmp_path), "--dsn", server.url("postgres"), "--json"], {}, out)
    refused = [each["rule"] for each in json.loads(out.getvalue())["findings"] if each["severity"] == "error"]
    assert (code, refused) == (FOUND, ["values-narrowed"]), "the CHECK over an old column, nothing of online"


def test_a_backfill_that_never_ends_is_told(scratch: psycopg.Connection[Any]) -> None:
    with pytest.raises(StatementFailedError, match="not done after") as told:
        rehearsed(scratch, "migrate", "\nSELECT 0::bigint AS rows, 'again' AS cursor")
    assert told.value.finding.line == 2
