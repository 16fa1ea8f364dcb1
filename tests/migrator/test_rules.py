"""The runner's decisions that need no database: order of versions, statements of a file, standing of attempts."""

import itertools
import json

import pytest

from migrator.answer import ANSWER_BYTES, Answer, State
from migrator.database import backoffs
from migrator.dsn import Redactor
from migrator.fence import Holder, Standing, standing
from migrator.progress import estimate
from migrator.request import Request, Verb, parse_request
from migrator.semver import Version
from migrator.settings import Limits
from migrator.sqltext import script_faults, single_statement_faults, statements

IN_ORDER = [
    *(
        "0.9.0",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
    ),
    *("1.0.0", "1.2.0-bad", "1.2.0", "1.2.1-slow", "1.10.0", "10.0.0"),
]
NO_VERSIONS = ["", "1", "1.0", "v1.0.0", "1.0.0+b", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0\n", "1.0.٣"]
BODY = (
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 3; END;\nSELECT 4"
)


def test_versions_are_ordered_as_semver_says() -> None:
    versions = [Version.parse(text) for text in IN_ORDER]
    scrambled = versions[5:] + versions[:5]
    assert sorted(scrambled) == versions


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "v1.0.0", "1.0.0+b", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0\n", "1.0.٣"]
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("-- only; a comment\n/* and; /* another; */ */", []),
        ("SELECT 1", [1]),
        ("SELECT 1;\n\n;SELECT ';' ; SELECT \"a;b\"", [1, 3, 3]),
        ("DO $$ BEGIN COMMIT; END $$;\nDO $x$ $$;$$ $x$;", [1, 2]),
        ("SELECT E'it\\'s; one';\nSELECT $1;", [1, 2]),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);\nSELECT 3", [1, 2]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 3; END;\nSELECT 4",
            [1, 2],
        ),
    ],
)
def test_statements_are_told_apart(text: str, lines: list[int]) -> None:
    assert [statement.line for statement in statements(text)] == lines


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN;",
        "select 1; -- x\nCommit",
        "/* c */ rollback",
        "START TRANSACTION",
        "VACUUM t",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
        "DROP INDEX CONCURRENTLY i",
        "REINDEX TABLE CONCURRENTLY t",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        "ALTER SYSTEM SET x = 1",
    ],
)
def test_what_would_break_out_of_the_transaction_is_found(text: str) -> None:
    assert list(script_faults(text))


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;",
        "SELECT 'COMMIT; VACUUM'",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "COMMENT ON TABLE t IS 'built CONCURRENTLY'",
        'ALTER TABLE t ADD COLUMN "commit" text',
    ],
)
def test_what_only_looks_like_it_is_let_through(text: str) -> None:
    assert not list(script_faults(text))


def test_a_batch_is_one_statement() -> None:
    assert not list(single_statement_faults("WITH a AS (SELECT 1) UPDATE t SET x = 1;\n-- the end\n"))
    assert [fault.line for fault in single_statement_faults("SELECT 1;\nSELECT 2;\nSELECT 3")] == [2, 3]


@pytest.mark.parametrize(
    ("verb", "upgrade", "attempt", "seen", "expected"),
    [
        ("migrate", "u2", "2", True, Standing.SAME),
        ("migrate", "u2", "3", True, Standing.NEWER),
        ("migrate", "u2", "1", True, Standing.OLDER),
        ("backout", "u2", "1", True, Standing.NEWER),
        ("expand", "u2", "9", True, Standing.OLDER),
        ("expand", "u3", "1", False, Standing.NEWER),
        ("backout", "u1", "9", True, Standing.OLDER),
    ],
)
def test_which_attempt_comes_after_which(
    verb: str, upgrade: str, attempt: str, seen: bool, expected: Standing
) -> None:
    holder = Holder("prod/mc", 7, "u2", "migrate", 2)
    assert standing(asked(verb, upgrade, attempt), holder, upgrade_seen=seen) is expected
    assert standing(asked(verb, upgrade, attempt), None, upgrade_seen=False) is Standing.NEWER


def test_an_answer_fits_the_termination_message_whatever_happened() -> None:
    answer = Answer(
        verb=Verb.INSPECT.value,
        state=State.FAILED,
        version="1.1.0",
        message="ü" * 9000,
        mend='"' * 9000,
        versions=tuple((f"1.{number}.0", State.CONTRACTED) for number in range(500)),
    )
    text = answer.to_json(Redactor())
    assert len(text.encode()) <= ANSWER_BYTES
    told = json.loads(text)
    assert told["message"].endswith("…")
    assert "1.499.0" in told["versions"], "the newest versions are kept"


def test_what_is_left_is_estimated_from_this_run() -> None:
    assert estimate(done=500, left=1500, seconds=10) == (50, 30)
    assert estimate(done=0, left=1500, seconds=10) == (0, None)


def test_waits_grow_and_are_never_the_same_for_two() -> None:
    waits = [next(backoffs(Limits())) for _ in range(20)]
    assert len(set(waits)) > 10
    assert all(0.1 <= wait <= 0.2 for wait in waits)
    later = backoffs(Limits())
    assert max(itertools.islice(later, 30)) <= 5
    assert next(later) >= 2.5


def asked(verb: str, upgrade: str, attempt: str) -> Request:
    return parse_request(
        [verb, "--release", "mc", "--namespace", "prod", "--upgrade", upgrade, "--attempt", attempt,
         "--from", "1.0.0", "--to", "1.1.0"]
    )  # fmt: skip
