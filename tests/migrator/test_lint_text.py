"""Lint of the text alone: squawk's rules and the kinds of statements, by phase, and what a file may waive."""

import io
import json
from pathlib import Path

import pytest
from tests.migrator.plane import MC_MIGRATIONS

from migrator.lint.command import CLEAN, FOUND, NOT_DONE, main
from migrator.lint.findings import Finding, SqlFile
from migrator.lint.gate import static_findings

CASES = [
    # expand may not drop, rename, narrow, add required columns or hold long locks
    ("expand", "ALTER TABLE t DROP COLUMN a", "ban-drop-column"),
    ("expand", "DROP TABLE t", "ban-drop-table"),
    ("expand", "DROP TRIGGER x ON t", "dropped"),
    ("expand", "ALTER TABLE t RENAME COLUMN a TO b", "renaming-column"),
    ("expand", "ALTER TABLE t RENAME TO u", "renaming-table"),
    ("expand", "ALTER TABLE t ALTER COLUMN a TYPE bigint", "changing-column-type"),
    ("expand", "ALTER TABLE t ALTER COLUMN a SET NOT NULL", "adding-not-nullable-field"),
    ("expand", "ALTER TABLE t ADD COLUMN a bigint NOT NULL", "adding-required-field"),
    ("expand", "ALTER TABLE t ADD COLUMN a float8 DEFAULT random()", "adding-field-with-default"),
    ("expand", "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", "constraint-missing-not-valid"),
    (
        "expand",
        "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES x (id)",
        "adding-foreign-key-constraint",
    ),
    ("expand", "CREATE INDEX i ON t (a)", "require-concurrent-index-creation"),
    ("expand", "UPDATE t SET a = 1", "not-in-expand"),
    ("expand", "TRUNCATE t", "not-in-expand"),
    ("expand", "LOCK TABLE t", "strong-lock"),
    ("expand", "REFRESH MATERIALIZED VIEW m", "strong-lock"),
    ("expand", "REVOKE SELECT ON t FROM x", "right-revoked"),
    ("expand", "ALTER TABLE t DISABLE TRIGGER x", "dropped"),
    # migrate is DML, VALIDATE and concurrent indexes
    ("migrate", "ALTER TABLE t ADD COLUMN a text", "not-in-migrate"),
    ("migrate", "DROP TABLE t", "not-in-migrate"),
    ("migrate", "CREATE INDEX i ON t (a)", "require-concurrent-index-creation"),
    ("online", "CREATE INDEX i ON t (a)", "require-concurrent-index-creation"),
    ("migrate", "DO $$ BEGIN EXECUTE 'drop table t'; END $$", "not-in-migrate"),
    # contract may drop and set NOT NULL
    ("contract", "UPDATE t SET a = 1", "not-in-contract"),
    ("contract", "ALTER TABLE t RENAME COLUMN a TO b", "renaming-column"),
    ("contract", "ALTER TABLE t ALTER COLUMN a TYPE bigint", "changing-column-type"),
    ("contract", "CLUSTER t USING i", "strong-lock"),
    ("divergence", "DELETE FROM t", "not-a-question"),
]
WELL = [
    ("expand", "CREATE TABLE t (id bigint PRIMARY KEY, a text NOT NULL); CREATE INDEX i ON t (a)"),
    ("expand", "ALTER TABLE t ADD COLUMN a text, ADD COLUMN n bigint NOT NULL DEFAULT 0"),
    ("expand", "ALTER TABLE t DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (a <> '') NOT VALID"),
    ("expand", "DROP TRIGGER IF EXISTS x ON t; CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()"),
    ("expand", "INSERT INTO settings (name) VALUES ('new')"),
    ("migrate", "WITH page AS (SELECT 1) UPDATE t SET a = b"),
    ("migrate", "ALTER TABLE t VALIDATE CONSTRAINT c"),
    ("online", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a); ALTER TABLE t VALIDATE CONSTRAINT c"),
    ("contract", "ALTER TABLE t DROP COLUMN a, DROP CONSTRAINT c; DROP TABLE u; DROP FUNCTION f()"),
    ("contract", "ALTER TABLE t VALIDATE CONSTRAINT c; ALTER TABLE t ALTER COLUMN b SET NOT NULL"),
    ("backout", "DROP TABLE t; ALTER TABLE u DROP COLUMN a"),
]


def found(phase: str, text: str) -> list[Finding]:
    return static_findings(SqlFile(f"1.1.0/{phase}.sql", text))


@pytest.mark.parametrize("phase", ["expand", "migrate", "online", "contract", "divergence"])
def test_what_breaks_the_promise_of_its_phase_is_refused_with_line_and_mend(phase: str) -> None:
    cases = [(text, rule) for of, text, rule in CASES if of == phase]
    findings = found(phase, "".join(f"{text};\n\n" for text, _ in cases))

    for number, (text, rule) in enumerate(cases):
        [finding] = [each for each in findings if each.rule == rule and each.line == 2 * number + 1]
        assert finding.refuses, text
        assert finding.file == f"1.1.0/{phase}.sql"
        assert finding.mend


def test_what_squawk_cannot_read_is_refused_as_its_rules_were_not_asked() -> None:
    findings = found("expand", "SELECT 1;\nSELECT FROM WHERE;")
    assert {(each.line, each.rule, each.refuses) for each in findings} == {(2, "syntax-error", True)}


@pytest.mark.parametrize("phase", ["expand", "migrate", "online", "contract", "backout"])
def test_what_belongs_in_its_phase_is_let_through(phase: str) -> None:
    text = ";\n".join(text for of, text in WELL if of == phase)
    assert not [each for each in found(phase, text) if each.refuses]


def test_rows_are_lost_where_a_column_is_dropped_and_added_again() -> None:
    text = "ALTER TABLE t DROP COLUMN a;\nALTER TABLE t ADD COLUMN a text;"
    assert [each.rule for each in found("expand", text)] == ["ban-drop-column"]


def test_a_waiver_with_a_reason_covers_its_statement_and_no_other() -> None:
    text = "-- lint: allow ban-drop-column because nobody has read it since 0.9\nALTER TABLE t\n  DROP COLUMN a;\n"
    first, second = found("expand", f"{text}ALTER TABLE t DROP COLUMN b;")

    assert (first.waived, first.refuses, first.line) == ("nobody has read it since 0.9", False, 3)
    assert (second.refuses, second.line) == (True, 4)


def test_a_waiver_without_a_reason_waives_nothing() -> None:
    rules = [
        each.rule for each in found("expand", "-- lint: allow ban-drop-column\nALTER TABLE t DROP COLUMN a;")
    ]
    assert rules == ["ban-drop-column", "waiver-without-reason"]


def test_a_waiver_that_nothing_needs_is_told() -> None:
    [finding] = found("expand", "-- lint: allow ban-drop-column because of old times\nSELECT 1;")
    assert (finding.rule, finding.refuses) == ("waiver-unused", False)


def test_squawk_cannot_be_silenced_behind_our_back() -> None:
    text = "-- squawk-ignore-file\n-- squawk-ignore ban-drop-column\nALTER TABLE t DROP COLUMN a;"
    assert [each.rule for each in found("expand", text)] == ["ban-drop-column"]


def test_the_command_tells_findings_in_json_and_by_its_exit_code(tmp_path: Path) -> None:
    write(
        tmp_path, {"1.0.0/expand.sql": "CREATE TABLE t (id bigint);", "1.1.0/expand.sql": "\nDROP TABLE t;"}
    )
    out = io.StringIO()

    assert main([str(tmp_path), "--json"], {}, out) == FOUND

    told = json.loads(out.getvalue())
    assert (told["versions"], told["basis"], told["rehearsed"], told["refused"]) == (
        ["1.1.0"],
        ["1.0.0"],
        False,
        1,
    )
    [finding] = told["findings"]
    assert (finding["file"], finding["line"], finding["rule"]) == ("1.1.0/expand.sql", 2, "ban-drop-table")


def test_mc_s_own_migrations_pass() -> None:
    out = io.StringIO()
    assert main([str(MC_MIGRATIONS)], {}, out) == CLEAN, out.getvalue()
    assert "0 refused, 0 warnings, 0 waived" in out.getvalue()


@pytest.mark.parametrize("arguments", [["nowhere"], [str(MC_MIGRATIONS), "--from", "one"]])
def test_what_cannot_be_looked_at_has_an_exit_code_of_its_own(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, {}, io.StringIO()) == NOT_DONE
    assert "conductor migrations lint:" in capsys.readouterr().err


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
