"""What the runner refuses, each with field, value and mend, and with the database left as it was."""

import pytest
from tests.migrator.plane import Outcome, Plane

HISTORY = {
    "1.0.0/expand.sql": "CREATE TABLE told (n integer PRIMARY KEY, what text, shape text);",
    "1.1.0/expand.sql": "ALTER TABLE told ADD COLUMN second text;",
    "1.1.0/migrate.sql": "UPDATE told SET second = what WHERE n IN (SELECT n FROM told WHERE second IS NULL LIMIT 10)",
    "1.1.0/divergence.sql": "SELECT count(*) FROM told WHERE second IS DISTINCT FROM what",
    "1.1.0/contract.sql": "ALTER TABLE told DROP COLUMN what;",
    "1.1.0/backout.sql": "ALTER TABLE told DROP COLUMN second;",
}


@pytest.fixture
def told(blank: Plane) -> Plane:
    """A small plane with migrations that the test may change, serving 1.0.0."""
    blank.write_files(HISTORY)
    blank.done("expand", "", "1.0.0", upgrade="u0")
    blank.execute("INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, 25) AS n")
    return blank


def test_a_failing_expand_names_file_and_line_and_leaves_blue_untouched(told: Plane) -> None:
    blue = told.schema()
    told.write_files({"1.1.0/expand.sql": "ALTER TABLE told ADD second text;\n\nALTER TABLE tld ADD x text;"})
    refused = told.run("expand", "1.0.0", "1.1.0")
    says(refused, 1, "SqlFailed", "1.1.0/expand.sql line 3", 'relation "tld" does not exist')
    assert "untouched" not in refused.answer, "it had a connection"
    assert told.schema() == blue
    assert told.done("inspect", "1.0.0", "1.1.0")["state"] == "none"
    assert told.events()[-1] == ("expand", "failed", "1.1.0", None)

    assert told.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out"
    assert told.schema() == blue
    told.write_files(HISTORY)
    says(told.run("expand", "1.0.0", "1.1.0"), 1, "BackedOut", "u1", "new upgrade")
    assert told.done("expand", "1.0.0", "1.1.0", upgrade="u2")["state"] == "expanded"


def test_done_verbs_answer_the_same_again_and_write_nothing(told: Plane) -> None:
    for verb in ("expand", "migrate", "contract"):
        first = told.done(verb, "1.0.0", "1.1.0")
        events = told.events()
        second = told.done(verb, "1.0.0", "1.1.0", attempt="2")
        assert second.pop("message") == "nothing to do, the ledger shows it done"
        assert second == {key: value for key, value in first.items() if key != "message"}
        assert told.events() == events


def test_a_changed_file_under_an_applied_version_is_refused_with_both_digests(told: Plane) -> None:
    before = told.done("expand", "1.0.0", "1.1.0")
    told.write_files({"1.1.0/expand.sql": "ALTER TABLE told ADD COLUMN other text;"})
    refused = told.run("migrate", "1.0.0", "1.1.0")
    says(refused, 1, "DigestChanged", "1.1.0/expand.sql", "new upgrade")
    assert refused.answer["message"].count("sha256:") == 2

    looked = told.done("inspect", "1.0.0", "1.1.0")
    assert (looked["state"], looked["reason"]) == ("expanded", "DigestChanged")

    told.done("backout", "1.0.0", "1.1.0")
    told.write_files({"1.1.0/backout.sql": "ALTER TABLE told DROP COLUMN other;"})
    again = told.done("expand", "1.0.0", "1.1.0", upgrade="u2")
    assert again["digest"] != before["digest"]


def test_a_file_that_was_not_applied_yet_may_still_be_mended(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    told.write_files(
        {"1.1.0/contract.sql": "ALTER TABLE told DROP COLUMN what, ALTER COLUMN second SET NOT NULL;"}
    )
    assert told.done("contract", "1.0.0", "1.1.0")["state"] == "contracted"


def test_phases_are_kept_in_their_order(told: Plane) -> None:
    says(told.run("migrate", "1.0.0", "1.1.0"), 1, "OutOfOrder", "none", "run expand")
    told.done("expand", "1.0.0", "1.1.0")
    says(told.run("contract", "1.0.0", "1.1.0"), 1, "OutOfOrder", "expanded", "run migrate")


def test_contract_and_backout_refuse_to_lose_rows(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    told.execute("UPDATE told SET second = 'only in the new shape' WHERE n < 4")
    for verb in ("contract", "backout"):
        refused = told.run(verb, "1.0.0", "1.1.0")
        says(refused, 1, "DivergenceLeft", "3 rows")
        assert refused.answer["divergence"] == 3
    told.execute("UPDATE told SET second = NULL WHERE n < 3")
    stuck = told.run("migrate", "1.0.0", "1.1.0", upgrade="u2")
    says(stuck, 1, "DivergenceLeft", "1 rows", "divergence.sql")
    assert told.done("backout", "1.0.0", "1.1.0", upgrade="u3", accept_loss="yes")["state"] == "backed-out"


def test_after_contract_there_is_no_way_back(told: Plane) -> None:
    for verb in ("expand", "migrate", "contract"):
        told.done(verb, "1.0.0", "1.1.0")
    says(told.run("backout", "1.0.0", "1.1.0"), 1, "ContractCommitted", "1.1.0", "go forward")
    says(told.run("expand", "1.1.0", "1.0.0", upgrade="u2"), 1, "ContractCommitted", "--to 1.0.0")
    assert told.done("inspect", "1.1.0", "1.0.0")["state"] == "not-applicable"


def test_a_deferred_contract_is_told_until_it_is_done(told: Plane) -> None:
    told.write_files({"1.2.0/expand.sql": "ALTER TABLE told ADD COLUMN third text;"})
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    assert told.done("inspect", "1.1.0", "1.1.1", upgrade="u2")["contractPending"] == ["1.1.0"]
    assert told.done("expand", "1.1.0", "1.2.0", upgrade="u2")["contractPending"] == ["1.1.0"]
    late = told.done("contract", "1.0.0", "1.1.0", upgrade="u2")
    assert late["state"] == "contracted"
    assert "contractPending" not in told.done("inspect", "1.1.0", "1.2.0", upgrade="u2")


def test_an_expanded_schema_that_was_kept_is_told_and_taken_up_again(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    assert told.done("inspect", "1.0.0", "1.0.1", upgrade="u2")["expandedKept"] == ["1.1.0"]
    told.execute("INSERT INTO told VALUES (26, 'by blue')")
    again = told.done("migrate", "1.0.0", "1.1.0", upgrade="u3")
    assert (again["divergence"], told.value("SELECT second FROM told WHERE n = 26")) == (0, "by blue")


def test_several_versions_run_in_the_order_of_semver(told: Plane) -> None:
    order = ("1.2.0-rc.2", "1.2.0-rc.10", "1.2.0", "1.10.0")
    for version in order:
        told.write_files(
            {
                f"{version}/expand.sql": f"INSERT INTO told SELECT max(n) + 1, '{version}', 'expand' FROM told;",
                f"{version}/backout.sql": f"INSERT INTO told SELECT max(n) + 1, '{version}', 'backout' FROM told;",
            }
        )
    answer = told.done("expand", "1.1.0", "1.10.0")
    assert answer["version"] == "1.10.0"
    told.done("backout", "1.1.0", "1.10.0")
    for shape, expected in (("expand", list(order)), ("backout", list(reversed(order)))):
        assert told.value(f"SELECT array_agg(what ORDER BY n) FROM told WHERE shape = '{shape}'") == expected


def test_an_upgrade_that_another_one_followed_does_not_come_back(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0", upgrade="u1")
    told.done("migrate", "1.0.0", "1.1.0", upgrade="u2")
    says(told.run("contract", "1.0.0", "1.1.0", upgrade="u1"), 1, "Superseded", "upgrade u2")


def test_a_database_serves_one_control_plane(told: Plane) -> None:
    told.release = "other"
    says(
        told.run("expand", "1.0.0", "1.1.0"),
        1,
        "ForeignControlPlane",
        "prod/mc",
        "prod/other",
        "MIGRATOR_ADOPT_FROM",
    )
    told.settings = {"MIGRATOR_ADOPT_FROM": "prod/mc"}
    assert told.done("expand", "1.0.0", "1.1.0")["state"] == "expanded"
    told.settings = {}
    assert told.done("migrate", "1.0.0", "1.1.0")["state"] == "migrated"


def test_the_ledger_can_only_be_added_to(told: Plane) -> None:
    for statement in ("UPDATE %s SET message = ''", "DELETE FROM %s", "TRUNCATE %s"):
        with pytest.raises(Exception, match="append-only"):
            told.execute(statement % "maestro_conductor.events")


def test_a_ledger_of_a_newer_runner_is_left_alone(told: Plane) -> None:
    told.execute("INSERT INTO maestro_conductor.ledger_version VALUES (99)")
    says(told.run("expand", "1.0.0", "1.1.0"), 1, "LedgerNewer", "99", "newer runner")


@pytest.mark.parametrize(
    ("name", "text", "told_of"),
    [
        ("1.1.0/expand.sql", "SELECT 1;\nCOMMIT;", ("line 2", "COMMIT")),
        ("1.1.0/expand.sql", "CREATE INDEX CONCURRENTLY i ON told (n);", ("line 1", "CONCURRENTLY")),
        ("1.1.0/migrate.sql", "UPDATE told SET n = n;\nDELETE FROM told", ("line 2", "second statement")),
        ("1.1.0/divergence.sql", "-- nothing\n", ("no statement",)),
        ("1.1.0/expnd.sql", "SELECT 1", ("1.1.0/expnd.sql", "expand.sql")),
        ("1.1/expand.sql", "SELECT 1", ("'1.1'", "MAJOR.MINOR.PATCH")),
    ],
)
def test_files_that_could_only_fail_half_way_are_refused_before(
    told: Plane, name: str, text: str, told_of: tuple[str, ...]
) -> None:
    blue = told.schema()
    told.write_files({name: text})
    says(told.run("expand", "1.0.0", "1.1.0"), 1, "FilesInvalid", *told_of)
    assert told.schema() == blue


@pytest.mark.parametrize(
    ("name", "text", "told_of"),
    [
        ("1.1.0/divergence.sql", "SELECT 'many'", "not one number"),
        ("1.1.0/migrate.sql", "SELECT 5::bigint AS rows, 'here'::text AS cursor", "does not move on"),
        ("1.1.0/migrate.sql", "SELECT 'x' AS rows, 5 AS cursor", "not one row of rows"),
    ],
)
def test_batches_and_questions_that_answer_nonsense_are_refused(
    told: Plane, name: str, text: str, told_of: str
) -> None:
    told.write_files({name: text})
    told.done("expand", "1.0.0", "1.1.0")
    says(told.run("migrate", "1.0.0", "1.1.0"), 1, "FilesInvalid", name, told_of)


def test_an_image_without_its_files_does_not_pass_for_nothing_to_do(blank: Plane) -> None:
    blank.migrations = blank.folder / "migrations"
    says(blank.run("expand", "1.0.0", "1.1.0"), 1, "FilesInvalid", "no version's folder", ".dockerignore")
    blank.migrations.mkdir()
    says(blank.run("inspect", "1.0.0", "1.1.0"), 1, "FilesInvalid", "no version's folder")


def test_expanding_without_a_way_back_is_told_at_backout(told: Plane) -> None:
    (told.migrations / "1.1.0" / "backout.sql").unlink()
    told.done("expand", "1.0.0", "1.1.0")
    says(told.run("backout", "1.0.0", "1.1.0"), 1, "BackoutMissing", "1.1.0", "backout.sql")


def says(outcome: Outcome, exit_code: int, reason: str, *parts: str) -> None:
    assert (outcome.exit_code, outcome.reason) == (exit_code, reason), outcome.output
    assert outcome.answer["state"] == "failed"
    assert outcome.answer["mend"]
    told = f"{outcome.answer['message']} {outcome.answer['mend']}"
    for part in parts:
        assert part in told
