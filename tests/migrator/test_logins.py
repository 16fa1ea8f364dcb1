"""A login role per colour: fenced and proven before a contract step, opened before the next upgrade needs it."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.migrator.plane import Plane
from tests.migrator.server import Server, base_backup, running_server
from tests.migrator.test_refusals import HISTORY, says

_NUMBERS = count(1)
NEXT = {
    "1.2.0/expand.sql": "ALTER TABLE told ADD COLUMN third text;",
    "1.2.0/divergence.sql": "SELECT 0::bigint",
    "1.2.0/contract.sql": "ALTER TABLE told ALTER COLUMN third SET DEFAULT '';",
    "1.2.0/backout.sql": "ALTER TABLE told DROP COLUMN third;",
}


class Colours:
    """The login roles of one plane. Roles belong to the server, so each test has its own."""

    def __init__(self, plane: Plane, server: Server) -> None:
        number = next(_NUMBERS)
        self.plane, self.server = plane, server
        self.blue, self.green = f"blue_{number}", f"green_{number}"
        for role in (self.blue, self.green):
            plane.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app'")

    def upgrade(self, verb: str, *, back: bool = False, **more: str) -> dict[str, str]:
        """Arguments of a run in an upgrade from blue to green; `back`: from green to blue."""
        old, new = (self.green, self.blue) if back else (self.blue, self.green)
        idle, serving = (new, old) if verb == "expand" else (old, new)
        return {"login_idle": idle, "login_serving": serving, **more}

    def done(self, verb: str, source: str = "1.0.0", target: str = "1.1.0", **more: Any) -> dict[str, Any]:
        return self.plane.done(verb, source, target, **self.upgrade(verb, **more))

    def migrated(self) -> "Colours":
        for verb in ("expand", "migrate"):
            self.done(verb)
        return self

    def url(self, role: str, server: Server | None = None, database: str = "") -> str:
        name = database or self.plane.value("SELECT current_database()")
        place = f"127.0.0.1:{(server or self.server).port}/{name}"
        return f"postgresql://{role}:app@{place}"  # pragma: allowlist secret

    @contextmanager
    def session(self, role: str, server: Server | None = None) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            self.url(role, server), autocommit=True, application_name=f"pod of {role}"
        ) as found:
            yield found

    def sessions(self, role: str) -> int:
        return int(self.plane.value(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"))

    def may_log_in(self, role: str) -> bool:
        return bool(self.plane.value(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'"))

    def lines(self) -> list[tuple[Any, ...]]:
        with self.plane.connection() as connection:
            return connection.execute(
                "SELECT phase, event, object FROM maestro_conductor.events"
                " WHERE upgrade <> 'u0' AND event IN ('opened', 'fenced', 'point', 'applied', 'failed') ORDER BY seq"
            ).fetchall()


@pytest.fixture
def told(blank: Plane) -> Plane:
    blank.write_files(HISTORY)
    blank.done("expand", "", "1.0.0", upgrade="u0")
    blank.execute("INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, 25) AS n")
    return blank


@pytest.fixture
def colours(told: Plane, server: Server) -> Iterator[Colours]:
    made = Colours(told, server)
    yield made
    with server.connect() as connection:
        name = told.value("SELECT current_database()")
        with server.connect(name) as inside:
            for role in (made.blue, made.green):
                inside.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        for role in (made.blue, made.green):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
            )
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_contract_ends_what_the_old_version_left_and_lets_nobody_in_again(colours: Colours) -> None:
    colours.migrated()
    with colours.session(colours.blue) as old, colours.session(colours.green) as new:
        done = colours.done("contract")
        with pytest.raises(psycopg.OperationalError):
            old.execute("SELECT 1")
        new.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        colours.session(colours.blue).__enter__()
    assert (colours.may_log_in(colours.blue), colours.may_log_in(colours.green)) == (False, True)
    after = done["contractedAfter"]
    assert (after["sessions"], after["pitr"], after["timeline"]) == ("proven", "unverified", 1)
    assert after["pitrReason"] == "archive_mode is off, no WAL is archived"
    assert colours.lines()[-3:] == [
        ("contract", "fenced", colours.blue), ("contract", "point", ""), ("contract", "applied", ""),
    ]  # fmt: skip
    before = colours.plane.value(
        "SELECT count(*) FROM maestro_conductor.events AS e JOIN maestro_conductor.events AS p ON p.event = 'point'"
        " WHERE e.event = 'applied' AND e.phase = 'contract' AND p.lsn_at <= e.committed_at AND p.seq < e.seq"
        f" AND p.lsn = '{after['lsn']}' AND p.lsn <= pg_current_wal_lsn()"
    )
    assert before == 1

    again = colours.done("contract", attempt="2")
    assert again["contractedAfter"] == after, "done before, told the same"


def test_the_next_upgrade_opens_the_login_before_anything_of_it_is_needed(colours: Colours) -> None:
    colours.migrated().done("contract")
    colours.plane.write_files(HISTORY | NEXT)
    colours.done("expand", "1.1.0", "1.2.0", back=True, upgrade="u2")
    with colours.session(colours.blue) as connection:
        connection.execute("SELECT 1")
    assert ("expand", "opened", colours.blue) in colours.lines()
    opened = len(colours.lines())
    colours.done("expand", "1.1.0", "1.2.0", back=True, upgrade="u2", attempt="2")
    assert len(colours.lines()) == opened, "opened once"
    colours.done("migrate", "1.1.0", "1.2.0", back=True, upgrade="u2")
    colours.done("contract", "1.1.0", "1.2.0", back=True, upgrade="u2")
    assert (colours.may_log_in(colours.blue), colours.may_log_in(colours.green)) == (True, False)


def test_an_upgrade_without_any_sql_opens_it_too_and_a_late_job_of_an_older_one_does_not(
    colours: Colours,
) -> None:
    colours.migrated().done("contract")
    told = colours.done("expand", "1.1.0", "1.1.1", back=True, upgrade="u2")
    assert told["state"] == "not-applicable"
    assert colours.may_log_in(colours.blue)

    colours.plane.execute(f"ALTER ROLE {colours.green} NOLOGIN")
    late = colours.plane.run("expand", "1.0.0", "1.1.0", **colours.upgrade("expand", attempt="2"))
    says(late, 1, "Superseded")
    assert not colours.may_log_in(colours.green)


def test_sessions_that_must_not_be_ended_are_not(colours: Colours) -> None:
    """The version that serves logs in with the wrong role: to end its sessions would be an outage."""
    colours.migrated()
    with colours.session(colours.blue) as serving:
        mixed = colours.plane.run("contract", "1.0.0", "1.1.0", **colours.upgrade("contract"))
        says(mixed, 2, "LoginsMixedUp", f"1 session(s) of {colours.blue}", f"none of {colours.green}")
        serving.execute("SELECT 1")
    assert colours.may_log_in(colours.blue)
    assert colours.plane.value("SELECT count(*) FROM maestro_conductor.permits") == 0


def test_a_role_of_another_database_or_of_the_job_itself_is_refused(colours: Colours, server: Server) -> None:
    colours.migrated()
    with psycopg.connect(colours.url(colours.blue, database="postgres")):
        shared = colours.plane.run("contract", "1.0.0", "1.1.0", **colours.upgrade("contract"))
        says(shared, 1, "LoginShared", "in database postgres", "of its own")
    own = colours.upgrade("contract") | {"login_idle": "postgres"}
    says(colours.plane.run("contract", "1.0.0", "1.1.0", **own), 1, "LoginShared", "DATABASE_URL itself")
    missing = colours.upgrade("contract") | {"login_idle": "nobody_knows_it"}
    says(
        colours.plane.run("contract", "1.0.0", "1.1.0", **missing), 1, "LoginMissing", "no role nobody_knows"
    )
    same = colours.upgrade("contract") | {"login_serving": colours.blue}
    says(colours.plane.run("contract", "1.0.0", "1.1.0", **same), 1, "ArgumentInvalid", "are both")
    absent = colours.plane.run("expand", "1.1.0", "1.2.0", login_idle="nobody_knows_it", upgrade="u2")
    says(absent, 1, "LoginMissing", "CREATE ROLE nobody_knows_it LOGIN")
    assert colours.may_log_in(colours.blue)
    assert colours.plane.done("inspect", "1.0.0", "1.1.0")["state"] == "migrated"


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        ("", ("may not fence", "CREATEROLE", "yourself")),
        ("CREATEROLE", ("is unknown", "does not see", "GRANT pg_read_all_stats TO")),
        ("CREATEROLE IN ROLE pg_read_all_stats", ("may not end", "GRANT pg_signal_backend TO")),
    ],
    ids=["to alter", "to see", "to end"],
)
def test_a_right_that_is_missing_is_unknown_and_never_zero(
    colours: Colours, server: Server, rights: str, words: tuple[str, ...]
) -> None:
    plane = colours.plane
    migrator = f"plain_{next(_NUMBERS)}"
    name = plane.value("SELECT current_database()")
    plane.execute(
        f"CREATE ROLE {migrator} LOGIN PASSWORD 'app' {rights}; GRANT CREATE ON DATABASE {name} TO {migrator};"
        f"GRANT ALL ON SCHEMA public TO {migrator}; ALTER TABLE told OWNER TO {migrator};"
    )
    plane.execute(
        f"ALTER SCHEMA maestro_conductor OWNER TO {migrator};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA maestro_conductor TO {migrator};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA maestro_conductor TO {migrator}"
    )
    if rights:
        plane.execute(over_the_colours(colours, migrator))
    plain = Plane(colours.url(migrator), plane.folder, plane.migrations)
    expanded = plain.done("expand", "1.0.0", "1.1.0", **colours.upgrade("expand"))
    foreseen = "before the contract step" in expanded["message"]
    assert foreseen == (words[0] != "may not end"), "said before the upgrade goes on"
    plain.done("migrate", "1.0.0", "1.1.0")
    with colours.session(colours.blue) as old, colours.session(colours.green):
        refused = plain.run("contract", "1.0.0", "1.1.0", **colours.upgrade("contract"))
        says(refused, 1, "RightsMissing", *words)
        old.execute("SELECT 1")
    assert plain.done("inspect", "1.0.0", "1.1.0")["state"] == "migrated"

    plane.execute(
        f"ALTER ROLE {migrator} CREATEROLE; GRANT pg_read_all_stats, pg_signal_backend TO {migrator};"
        f"{over_the_colours(colours, migrator)}"
    )
    done = plain.done("contract", "1.0.0", "1.1.0", attempt="2", **colours.upgrade("contract"))
    assert done["contractedAfter"]["sessions"] == "proven"
    plane.execute(f"REASSIGN OWNED BY {migrator} TO postgres; DROP OWNED BY {migrator}; DROP ROLE {migrator}")


def over_the_colours(colours: Colours, migrator: str) -> str:
    """What lets a role with CREATEROLE change these two: it may do that by itself before PostgreSQL 16 only."""
    if colours.plane.value("SELECT current_setting('server_version_num')::integer") < 160_000:
        return "SELECT 1"
    return f"GRANT {colours.blue}, {colours.green} TO {migrator} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"


def test_a_fence_that_a_person_made_needs_no_right_to_make_one(colours: Colours) -> None:
    colours.migrated()
    colours.plane.execute(f"ALTER ROLE {colours.blue} NOLOGIN")
    assert colours.done("contract")["contractedAfter"]["sessions"] == "proven"
    assert ("contract", "fenced", colours.blue) not in colours.lines()


def test_without_roles_it_is_said_that_nothing_is_proven(told: Plane) -> None:
    for verb in ("expand", "migrate"):
        told.done(verb, "1.0.0", "1.1.0")
    assert told.done("contract", "1.0.0", "1.1.0")["contractedAfter"]["sessions"] == "unproven"


def test_a_fence_is_not_undone_by_a_contract_step_that_fails(colours: Colours) -> None:
    """It stays fenced: the release has given up its way back, and the next attempt proves it again."""
    colours.plane.write_files(HISTORY | {"1.1.0/contract.sql": "SELECT 1 / 0;"})
    colours.migrated()
    failed = colours.plane.run("contract", "1.0.0", "1.1.0", **colours.upgrade("contract"))
    says(failed, 1, "SqlFailed", "division by zero")
    assert not colours.may_log_in(colours.blue)
    colours.plane.execute(f"ALTER ROLE {colours.blue} LOGIN")
    with ExitStack() as sessions:
        sessions.enter_context(colours.session(colours.blue))
        sessions.enter_context(colours.session(colours.green))
        colours.plane.write_files(HISTORY)
        colours.done("contract", attempt="2")
        assert colours.sessions(colours.blue) == 0
    assert colours.lines()[-3:] == [
        ("contract", "fenced", colours.blue), ("contract", "point", ""), ("contract", "applied", ""),
    ]  # fmt: skip


def test_a_prepared_transaction_of_the_old_version_is_named_and_not_ended(colours: Colours) -> None:
    colours.plane.execute(f"GRANT ALL ON told TO {colours.blue}")
    colours.migrated()
    with colours.session(colours.blue) as old:
        old.execute("BEGIN")
        old.execute("INSERT INTO told (n, what) VALUES (100, 'in doubt')")
        old.execute("PREPARE TRANSACTION 'two-phase 1'")
    refused = colours.plane.run("contract", "1.0.0", "1.1.0", **colours.upgrade("contract"))
    says(refused, 1, "PreparedTransactions", "the first is 'two-phase 1'", "ROLLBACK PREPARED 'two-phase 1'")
    assert colours.may_log_in(colours.blue), "who prepared it may still end it"
    colours.plane.execute("ROLLBACK PREPARED 'two-phase 1'")
    colours.done("contract", attempt="2")


def test_a_restore_to_the_moment_is_verified_by_what_the_server_shows(tmp_path: Path) -> None:
    """WAL archived up to it, and a base backup from before it: a server of its own, because that is its setting."""
    with tempfile.TemporaryDirectory(prefix="migrator-archive-") as folder:
        archive = Path(folder, "archive")
        archive.mkdir(mode=0o777)
        archive.chmod(0o777)
        settings = ("archive_mode=on", f"archive_command=cp %p {archive}/%f")
        with running_server(Path(folder), *settings) as server:
            plane = Plane(server.create("kept"), tmp_path, settings={"MIGRATOR_ARCHIVE_WAIT_SECONDS": "30"})
            plane.write_files(HISTORY)
            plane.done("expand", "", "1.0.0", upgrade="u0")
            for verb in ("expand", "migrate"):
                plane.done(verb, "1.0.0", "1.1.0")
            without = plane.done("contract", "1.0.0", "1.1.0")["contractedAfter"]
            assert (without["pitr"], "no base backup" in without["pitrReason"]) == ("unverified", True)
            assert any(archive.iterdir()), "the segment of the moment was archived all the same"

            base_backup(server, Path(folder))
            plane.wait_for(
                "SELECT EXISTS (SELECT FROM pg_ls_archive_statusdir() WHERE name LIKE '%backup.done')",
                bool, "the archived history of the backup",
            )  # fmt: skip
            plane.write_files(HISTORY | NEXT)
            for verb in ("expand", "migrate"):
                plane.done(verb, "1.1.0", "1.2.0", upgrade="u2")
            after = plane.done("contract", "1.1.0", "1.2.0", upgrade="u2")["contractedAfter"]
            assert after["pitr"] == "verified", after
            segment = plane.value(f"SELECT pg_walfile_name('{after['lsn']}')")
            assert (archive / segment).exists()
            assert segment in after["pitrReason"]


def test_rows_that_differ_are_found_before_anybody_is_cut_off(colours: Colours) -> None:
    colours.migrated()
    colours.plane.execute("UPDATE told SET second = 'only here' WHERE n = 1")
    refused = colours.plane.run("contract", "1.0.0", "1.1.0", **colours.upgrade("contract"))
    says(refused, 1, "DivergenceLeft", "1 rows")
    assert colours.may_log_in(colours.blue)
