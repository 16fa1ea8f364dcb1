"""Barriers against a real streaming standby: caught up, paused, lagging, cut, unreachable, foreign, failed over."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.migrator.conftest import FEW_ROWS, SOME_ROWS
from tests.migrator.plane import Plane
from tests.migrator.server import PASSWORD_IN_URL, Server, streaming_standby
from tests.migrator.test_refusals import says

WAITS = {"MIGRATOR_REPLICA_WAIT_SECONDS": "1"}
BATCHES = "SELECT count(*) FROM maestro_conductor.events WHERE event = 'batch'"


@pytest.fixture(scope="module")
def standby(server: Server, some_template: str) -> Iterator[Server]:
    """Of the session's server; the last test promotes it."""
    with (
        tempfile.TemporaryDirectory(prefix="migrator-standby-") as folder,
        streaming_standby(server, Path(folder)) as running,
    ):
        yield running


@pytest.fixture
def followed(small: Plane, standby: Server) -> Plane:
    """A plane whose standby is named in the release."""
    name = small.value("SELECT current_database()")
    wait_there(standby, f"SELECT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')")
    small.settings = {"REPLICA_URL_1": url_there(small, standby), **WAITS}
    return small


def test_expand_and_migrate_end_when_the_standby_has_them_too(followed: Plane, standby: Server) -> None:
    expanded = followed.done("expand", "1.0.0", "1.1.0")
    line = expanded["ledgerLine"]
    [told] = expanded["replicas"]
    assert (told["endpoint"], told["state"], told["ledgerLine"]) == (place(followed, standby), "ok", line)
    assert told["timeline"] == expanded["timeline"] == 1
    assert there(followed, standby, "SELECT max(seq) FROM maestro_conductor.events") == line
    followed.done("migrate", "1.0.0", "1.1.0")
    assert there(followed, standby, "SELECT count(*) FROM executions WHERE owner_name IS NULL") == 0
    looked = followed.done("barrier", "1.0.0", "1.1.0")
    assert (looked["state"], looked["replicas"][0]["state"]) == ("migrated", "ok")
    assert followed.done("contract", "1.0.0", "1.1.0")["state"] == "contracted"


def test_a_paused_replay_is_named_and_mended(followed: Plane, standby: Server) -> None:
    order(standby, "SELECT pg_wal_replay_pause()")
    try:
        paused = followed.run("expand", "1.0.0", "1.1.0")
        says(paused, 2, "ReplicaPaused", place(followed, standby), "pg_wal_replay_resume")
        looked = followed.done("inspect", "1.0.0", "1.1.0")
        assert (looked["state"], looked["replicas"][0]["state"]) == ("expanded", "ReplicaPaused")
        says(followed.run("barrier", "1.0.0", "1.1.0"), 2, "ReplicaPaused")
        assert followed.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out", (
            "going back waits for nobody"
        )
    finally:
        order(standby, "SELECT pg_wal_replay_resume()")
    again = followed.done("expand", "1.0.0", "1.1.0", upgrade="u2")
    assert again["replicas"][0]["state"] == "ok"


def test_a_standby_that_lags_is_waited_for_and_then_named(followed: Plane, standby: Server) -> None:
    set_there(standby, "recovery_min_apply_delay", "'4s'")
    try:
        says(
            followed.run("expand", "1.0.0", "1.1.0"), 2, "ReplicaBehind", "bytes behind", "its ledger at line"
        )
        followed.settings["MIGRATOR_REPLICA_WAIT_SECONDS"] = "30"
        done = followed.done("expand", "1.0.0", "1.1.0", attempt="2")
        assert done["message"] == "nothing to do, the ledger shows it done"
        # Not its state: what the server itself writes since then comes four seconds later too.
        assert done["replicas"][0]["ledgerLine"] == done["ledgerLine"]
    finally:
        set_there(standby, "recovery_min_apply_delay", "DEFAULT")


def test_a_standby_that_is_a_moment_late_is_not_told_as_behind(followed: Plane, standby: Server) -> None:
    """Users write all the time: what was committed between the barrier and the answer is on its way."""
    line = followed.done("expand", "1.0.0", "1.1.0")["ledgerLine"]
    set_there(standby, "recovery_min_apply_delay", "'1s'")
    try:
        followed.execute("CREATE TABLE more (n integer)")
        followed.execute("CHECKPOINT")
        [told] = followed.done("inspect", "1.0.0", "1.1.0")["replicas"]
        assert (told["state"], told["ledgerLine"]) == ("ok", line)
    finally:
        set_there(standby, "recovery_min_apply_delay", "DEFAULT")


def test_a_standby_that_is_cut_off_stops_contract_until_it_is_back(followed: Plane, standby: Server) -> None:
    for verb in ("expand", "migrate"):
        followed.done(verb, "1.0.0", "1.1.0")
    # ALTER SYSTEM works on a standby too; the receiver ends when there is nothing to connect to.
    conninfo = of_server(standby, "SELECT current_setting('primary_conninfo')").replace("'", "''")
    set_there(standby, "primary_conninfo", "''")
    try:
        wait_there(standby, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
        followed.execute("CREATE TABLE more (n integer)")
        # These tests' server commits asynchronously; what is not written yet is nothing that a standby lacks.
        followed.execute("CHECKPOINT")
        cut = followed.run("contract", "1.0.0", "1.1.0")
        says(cut, 2, "ReplicaCut", "receives nothing", "primary_conninfo")
        assert followed.value("SELECT count(*) FROM maestro_conductor.permits") == 0
    finally:
        set_there(standby, "primary_conninfo", f"'{conninfo}'")
    followed.settings["MIGRATOR_REPLICA_WAIT_SECONDS"] = "30"
    assert followed.done("contract", "1.0.0", "1.1.0", attempt="2")["state"] == "contracted"


def test_sessions_of_the_old_version_on_a_standby_are_ended_once_it_has_replayed_the_fence(
    followed: Plane, standby: Server
) -> None:
    with login_roles(followed, "of_standby_blue", "of_standby_green") as (blue, green):
        wait_there(standby, f"SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{green}')")
        for verb in ("expand", "migrate"):
            followed.done(verb, "1.0.0", "1.1.0", login_idle=green, login_serving=blue)
        logins = {"login_idle": blue, "login_serving": green}
        url = url_there(followed, standby).replace(f"postgres:{PASSWORD_IN_URL}", f"{blue}:app")
        with psycopg.connect(url, autocommit=True) as reader, psycopg.connect(followed.url):
            order(standby, "SELECT pg_wal_replay_pause()")
            try:
                paused = followed.run("contract", "1.0.0", "1.1.0", **logins)
                says(paused, 2, "ReplicaPaused")
                reader.execute("SELECT 1")
            finally:
                order(standby, "SELECT pg_wal_replay_resume()")
            followed.settings["MIGRATOR_REPLICA_WAIT_SECONDS"] = "30"
            done = followed.done("contract", "1.0.0", "1.1.0", attempt="2", **logins)
            assert done["contractedAfter"]["sessions"] == "proven"
            with pytest.raises(psycopg.OperationalError):
                reader.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            psycopg.connect(url)


def test_what_a_replica_does_not_let_us_see_is_unknown(followed: Plane, standby: Server) -> None:
    with login_roles(followed, "unseen_blue", "unseen_green", "looker") as (blue, green, looker):
        followed.execute(
            f"GRANT CONNECT ON DATABASE {followed.value('SELECT current_database()')} TO {looker}"
        )
        wait_there(standby, f"SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{looker}')")
        for verb in ("expand", "migrate"):
            followed.done(verb, "1.0.0", "1.1.0")
        followed.settings["REPLICA_URL_1"] = url_there(followed, standby).replace(
            f"postgres:{PASSWORD_IN_URL}", f"{looker}:app"
        )
        unseen = followed.run("contract", "1.0.0", "1.1.0", login_idle=blue, login_serving=green)
        says(unseen, 1, "RightsMissing", f"on replica {place(followed, standby)} is unknown", f"TO {looker}")
        assert followed.value(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{blue}'")


def test_one_that_does_not_answer_and_one_of_another_database_are_told_apart(followed: Plane) -> None:
    followed.settings["REPLICA_URL_1"] = "postgresql://u:hunter2@127.0.0.1:1/mc"  # pragma: allowlist secret
    unreachable = followed.run("expand", "1.0.0", "1.1.0")
    says(unreachable, 2, "ReplicaUnreachable", "127.0.0.1:1/mc")
    assert "hunter2" not in unreachable.output
    followed.settings["REPLICA_URL_1"] = followed.url
    says(followed.run("migrate", "1.0.0", "1.1.0"), 1, "ReplicaPromoted", "is no standby")
    followed.settings["REPLICA_URL_1"] = "postgresql://u:hunter2@db/mc?options=x"  # pragma: allowlist secret
    says(
        followed.run("migrate", "1.0.0", "1.1.0"), 1, "DatabaseUrlInvalid", "REPLICA_URL: parameter 'options'"
    )


@pytest.mark.parametrize("named", [True, False], ids=["named", "seen by the primary only"])
def test_a_backfill_waits_for_a_standby_that_falls_behind(
    medium: Plane, standby: Server, named: bool
) -> None:
    medium.done("expand", "1.0.0", "1.1.0")
    medium.settings |= {"MIGRATOR_MAX_LAG_BYTES": "20000", "MIGRATOR_PAUSE_MS": "5", **WAITS}
    if named:
        medium.settings["REPLICA_URL_1"] = url_there(medium, standby)
    catch_up(medium, standby)
    order(standby, "SELECT pg_wal_replay_pause()")
    try:
        slow = medium.run("migrate", "1.0.0", "1.1.0")
        says(slow, 2, "ReplicaPaused" if named else "ReplicaBehind")
        assert '"waiting for a replica"' in slow.output
        assert medium.value(BATCHES) < SOME_ROWS / 200
    finally:
        order(standby, "SELECT pg_wal_replay_resume()")
    medium.settings["MIGRATOR_REPLICA_WAIT_SECONDS"] = "30"
    assert medium.done("migrate", "1.0.0", "1.1.0", attempt="2")["rowsDone"] == SOME_ROWS


def test_lag_that_this_role_may_not_see_is_unknown_and_not_zero(
    blank: Plane, server: Server, standby: Server
) -> None:
    plain = blank.of_plain_owner("plain_owner")
    plain.write_files(
        {
            "1.0.0/expand.sql": "CREATE TABLE t AS SELECT n, false AS done FROM generate_series(1, 3) AS n",
            "1.0.0/migrate.sql": "UPDATE t SET done = true WHERE NOT done",
        }
    )
    outcome = plain.run("expand", "", "1.0.0")
    assert outcome.exit_code == 0, outcome.output
    assert "replica lag unknown" in outcome.output
    assert "GRANT pg_monitor" in outcome.output


def test_a_reader_of_all_columns_on_a_standby_is_seen_too(followed: Plane, standby: Server) -> None:
    there = url_there(followed, standby)
    with psycopg.connect(there, autocommit=True, application_name="reports") as reader:
        reader.execute("SELECT * FROM executions LIMIT 1")
        refused = followed.run("expand", "1.0.0", "1.1.0")
    says(refused, 1, "StarReaders", f"reports at {place(followed, standby)} reads * of executions")
    followed.done("expand", "1.0.0", "1.1.0", attempt="2")


def test_a_promotion_stops_forward_steps_on_either_side(followed: Plane, standby: Server) -> None:
    """The last of this file: the standby is none afterwards."""
    line = followed.done("expand", "1.0.0", "1.1.0")["ledgerLine"]
    followed.settings |= {"MIGRATOR_BATCH_ROWS": "2", "MIGRATOR_PAUSE_MS": "100"}
    backfill = followed.start("migrate", "1.0.0", "1.1.0")
    followed.wait_for(BATCHES, bool, "the first batch")
    order(standby, "SELECT pg_promote()")
    lacks = (1, "ReplicaPromoted", place(followed, standby), "only one of the two takes writes")
    says(backfill.outcome(), *lacks)
    lines = followed.value("SELECT max(seq) FROM maestro_conductor.events")
    assert 0 < followed.value(BATCHES) < FEW_ROWS / 2
    says(followed.run("migrate", "1.0.0", "1.1.0", attempt="2"), *lacks)
    assert followed.value("SELECT max(seq) FROM maestro_conductor.events") == lines, "nothing has begun anew"

    moved = Plane(url_there(followed, standby), followed.folder, settings=dict(WAITS))
    stopped = moved.run("migrate", "1.0.0", "1.1.0", attempt="2", ledger_line=str(line))
    says(stopped, 1, "FailedOver", "timeline 1", "timeline 2", "then retry")
    assert moved.done("migrate", "1.0.0", "1.1.0", attempt="3", ledger_line=str(line))["timeline"] == 2
    ahead = str(followed.value("SELECT max(seq) FROM maestro_conductor.events") + 1000)
    says(moved.run("contract", "1.0.0", "1.1.0", ledger_line=ahead), 1, "LedgerBehind")


@contextmanager
def login_roles(plane: Plane, *roles: str) -> Iterator[tuple[str, ...]]:
    for role in roles:
        plane.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app'")
    try:
        yield roles
    finally:
        for role in roles:
            plane.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def catch_up(plane: Plane, standby: Server) -> None:
    """What is behind already has not even the database in which it is looked for."""
    plane.execute("CHECKPOINT")
    lsn = plane.value("SELECT pg_current_wal_lsn()")
    wait_there(standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")


def url_there(plane: Plane, standby: Server) -> str:
    return standby.url(plane.value("SELECT current_database()"))


def place(plane: Plane, standby: Server) -> str:
    return f"127.0.0.1:{standby.port}/{plane.value('SELECT current_database()')}"


def there(plane: Plane, standby: Server, query: str) -> Any:
    return Plane(url_there(plane, standby), plane.folder).value(query)


def of_server(standby: Server, query: str) -> str:
    with standby.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])


def order(standby: Server, statement: str) -> None:
    with standby.connect() as connection:
        connection.execute(statement.encode())


def set_there(standby: Server, name: str, value: str) -> None:
    order(standby, f"ALTER SYSTEM SET {name} = {value}")
    order(standby, "SELECT pg_reload_conf()")


def wait_there(standby: Server, query: str) -> None:
    Plane(standby.url("postgres"), Path()).wait_for(query, bool, query)
