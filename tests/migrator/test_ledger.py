"""The ledger: brought up to date in place, permits consumed once, and what it says about where it is kept."""

import pytest
from tests.migrator.plane import Plane
from tests.migrator.test_refusals import HISTORY, says

from migrator.ledger_schema import STEPS

OLD_LINES = """
INSERT INTO maestro_conductor.events (control_plane, upgrade, attempt, fence, phase, event, version, state,
                                      from_version, to_version, digests)
SELECT 'prod/mc', 'u1', 1, 1, 'expand', 'applied', '1.1.0', 'expanded', '1.0.0', '1.1.0', digests
FROM maestro_conductor_before.events WHERE version = '1.1.0' AND event = 'applied';
INSERT INTO maestro_conductor.fence (control_plane, token, upgrade, phase, attempt, backend_pid)
VALUES ('prod/mc', 1, 'u1', 'expand', 1, 0);
"""


@pytest.fixture
def told(blank: Plane) -> Plane:
    blank.write_files(HISTORY)
    blank.done("expand", "", "1.0.0", upgrade="u0")
    blank.execute("INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, 25) AS n")
    return blank


def test_a_ledger_of_the_first_version_is_read_and_brought_up_to_date(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.execute("ALTER SCHEMA maestro_conductor RENAME TO maestro_conductor_before")
    told.execute(
        "CREATE SCHEMA maestro_conductor; CREATE TABLE maestro_conductor.ledger_version"
        " (version integer PRIMARY KEY, added_at timestamptz NOT NULL DEFAULT now());"
        f"INSERT INTO maestro_conductor.ledger_version VALUES (1); {STEPS[0]} {OLD_LINES}"
    )

    looked = told.done("inspect", "1.0.0", "1.1.0")
    assert (looked["state"], looked["ledgerLine"]) == ("expanded", 1)
    assert told.value("SELECT max(version) FROM maestro_conductor.ledger_version") == 1, (
        "a look writes nothing"
    )

    assert told.done("migrate", "1.0.0", "1.1.0")["state"] == "migrated"
    assert told.value("SELECT max(version) FROM maestro_conductor.ledger_version") == len(STEPS)
    assert told.value("SELECT count(*) FROM maestro_conductor.events WHERE seq = 1 AND timeline IS NULL") == 1
    with pytest.raises(Exception, match="events is append-only"):
        told.execute("UPDATE maestro_conductor.events SET message = ''")


def test_each_state_says_which_versions_the_schema_is_for(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    told.done("backout", "1.0.0", "1.1.0")
    told.done("expand", "1.0.0", "1.1.0", upgrade="u2")
    told.done("migrate", "1.0.0", "1.1.0", upgrade="u2")
    last = told.done("contract", "1.0.0", "1.1.0", upgrade="u2")
    with told.connection() as connection:
        found = connection.execute(
            "SELECT state, schema_from, schema_to FROM maestro_conductor.events"
            " WHERE upgrade <> 'u0' AND state IS NOT NULL ORDER BY seq"
        ).fetchall()
    both = ("1.0.0", "1.1.0")
    assert found == [
        *[("expanded", *both), ("migrated", *both), ("backed-out", "1.0.0", "1.0.0")],
        *[("expanded", *both), ("migrated", *both), ("contracted", "1.1.0", "1.1.0")],
    ]
    assert (last["schemaFrom"], last["schemaTo"]) == ("1.1.0", "1.1.0")


def test_a_permit_is_asked_for_and_consumed_once(told: Plane) -> None:
    told.write_files(
        {"1.2.0/expand.sql": "ALTER TABLE told ADD third text;", "1.2.0/contract.sql": "SELECT 1;"}
    )
    for verb in ("expand", "migrate"):
        told.done(verb, "1.0.0", "1.1.0")
    says(told.run("contract", "1.0.0", "1.1.0", permit=""), 1, "PermitMissing", "--permit", "u1/contract")
    says(told.run("contract", "1.0.0", "1.1.0", permit="u9/contract"), 1, "ArgumentInvalid", "u9/contract")
    assert told.value("SELECT count(*) FROM maestro_conductor.permits") == 0

    told.done("contract", "1.0.0", "1.1.0")
    consumed = "SELECT array_agg(ROW(permit, upgrade, from_version, to_version)::text) FROM maestro_conductor.permits"
    assert told.value(consumed) == ["(u1/contract,u1,1.0.0,1.1.0)"]
    told.done("expand", "1.1.0", "1.2.0", upgrade="u2")
    told.done("migrate", "1.1.0", "1.2.0", upgrade="u2")
    told.execute(
        "INSERT INTO maestro_conductor.permits (permit, control_plane, upgrade, from_version, to_version, attempt,"
        " fence) VALUES ('u2/contract', 'prod/mc', 'u2', '1.0.0', '1.1.0', 1, 1)"
    )
    spent = told.run("contract", "1.1.0", "1.2.0", upgrade="u2")
    says(spent, 1, "PermitSpent", "u2/contract", "1.0.0 to 1.1.0")
    assert told.done("inspect", "1.1.0", "1.2.0", upgrade="u2")["state"] == "migrated"
    for statement in ("UPDATE %s SET upgrade = ''", "DELETE FROM %s", "TRUNCATE %s"):
        with pytest.raises(Exception, match="permits is append-only"):
            told.execute(statement % "maestro_conductor.permits")


def test_a_contract_that_failed_keeps_its_permit(told: Plane) -> None:
    told.done("expand", "1.0.0", "1.1.0")
    told.done("migrate", "1.0.0", "1.1.0")
    told.write_files({"1.1.0/contract.sql": "ALTER TABLE told DROP COLUMN nothing;"})
    says(told.run("contract", "1.0.0", "1.1.0"), 1, "SqlFailed", "contract.sql line 1")
    assert told.value("SELECT count(*) FROM maestro_conductor.permits") == 0, "undone with its transaction"
    told.write_files(HISTORY)
    assert told.done("contract", "1.0.0", "1.1.0", attempt="2")["state"] == "contracted"


def test_a_ledger_behind_what_the_release_was_told_stops_forward_steps(told: Plane) -> None:
    line = told.done("expand", "1.0.0", "1.1.0")["ledgerLine"]
    assert line == told.value("SELECT max(seq) FROM maestro_conductor.events")
    ahead = str(line + 1)
    behind = told.run("migrate", "1.0.0", "1.1.0", ledger_line=ahead)
    says(behind, 1, "LedgerBehind", f"line {line}", f"line {ahead}", "docs/ledger.md")
    looked = told.done("inspect", "1.0.0", "1.1.0", ledger_line=ahead)
    assert (looked["state"], looked["reason"]) == ("expanded", "LedgerBehind")
    assert told.done("backout", "1.0.0", "1.1.0", ledger_line=ahead)["state"] == "backed-out", "back, always"
    assert told.done("expand", "1.0.0", "1.1.0", upgrade="u2", ledger_line=str(line))["state"] == "expanded"


def test_another_server_than_before_stops_one_forward_step(told: Plane) -> None:
    """As after a restore elsewhere; a real promotion is in test_replicas.py."""
    told.done("expand", "1.0.0", "1.1.0")
    told.execute(
        "INSERT INTO maestro_conductor.events (control_plane, upgrade, attempt, fence, phase, event, from_version,"
        " to_version, system_id, timeline) SELECT control_plane, upgrade, attempt, fence, phase, 'failed',"
        " from_version, to_version, '7', timeline FROM maestro_conductor.events ORDER BY seq DESC LIMIT 1"
    )
    says(told.run("migrate", "1.0.0", "1.1.0"), 1, "FailedOver", "system 7", "then retry")
    assert told.events()[-1] == ("migrate", "failed-over", None, None)
    assert told.done("migrate", "1.0.0", "1.1.0", attempt="2")["state"] == "migrated"
