"""The connection to the control plane's database, and what its errors mean for a run."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, Cursor, errors

from migrator.answer import log_line
from migrator.direct import check_direct
from migrator.dsn import Dsn
from migrator.request import Request
from migrator.scripts import Script
from migrator.settings import Limits
from migrator.sqltext import Statement, statements
from migrator.stops import Reason, Refused, Stop, TryAgain

OLDEST_SERVER = 140_000
_CONNECT_PAUSE_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 5.0
CONTENTION = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.QueryCanceled,
)
_LOST_CLASSES = ("08", "57P")
_SURROUNDINGS_CLASSES = ("53", "58")

T = TypeVar("T")


def connect(dsn: Dsn, request: Request, limits: Limits) -> Connection[Any]:
    """A connection to a writable PostgreSQL, tried until `connect_seconds` have passed."""
    deadline = time.monotonic() + limits.connect_seconds
    while True:
        try:
            connection = _open(dsn, request)
        except psycopg.OperationalError as error:
            if time.monotonic() + _CONNECT_PAUSE_SECONDS > deadline:
                raise TryAgain(
                    Reason.DATABASE_UNREACHABLE,
                    f"DATABASE_URL: no connection to {dsn.place}: {_one_line(str(error))}",
                    "check that the database runs and that host, user and password in the Secret are right",
                ) from error
            time.sleep(_CONNECT_PAUSE_SECONDS)
            continue
        try:
            _check_server(connection, dsn)
            with translated(connection):
                check_direct(connection, lambda: _open_another(dsn, request))
                settle(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _open(dsn: Dsn, request: Request) -> Connection[Any]:
    # One host's silence must not use up the time that is left for another try.
    parameters: dict[str, Any] = {"connect_timeout": "5", **dsn.parameters}
    return psycopg.connect(
        **parameters,
        application_name=f"migrator {request.control_plane} {request.verb.value} {request.attempt}"[:63],
        autocommit=True,
        # A peer that went away without a word is noticed within half a minute.
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=25_000,
    )


def open_replica(dsn: Dsn, request: Request) -> Connection[Any]:
    """To look only. The database that it leads to is not asked whether it takes writes."""
    connection = _open(dsn, request)
    connection.execute("SET statement_timeout = '10s'")
    return connection


def _open_another(dsn: Dsn, request: Request) -> Connection[Any]:
    try:
        return _open(dsn, request)
    except psycopg.OperationalError as error:
        raise TryAgain(
            Reason.DATABASE_UNREACHABLE,
            f"DATABASE_URL: no second connection to {dsn.place}: {_one_line(str(error))}",
            "the runner needs two for a moment: see max_connections and the role's CONNECTION LIMIT",
        ) from error


@contextmanager
def translated(connection: Connection[Any], script: Script | None = None) -> Iterator[None]:
    """PostgreSQL's errors become stops that name file, line and mend."""
    try:
        yield
    except psycopg.Error as error:
        raise stop_for(error, connection, script) from error


def with_patience(
    connection: Connection[Any],
    limits: Limits,
    script: Script,
    timeout_ms: int,
    work: Callable[[Connection[Any]], T],
) -> T:
    """Run `work` in one transaction; a lock that is not granted soon is asked for again, later.

    Giving up quickly is what protects the users: whatever queues behind our request for a lock waits with us.
    """
    pauses = backoffs(limits)
    for tried in range(1, limits.tries + 1):
        try:
            settle(connection)
            with connection.transaction():
                _limit(connection, limits.lock_timeout_ms, timeout_ms)
                return work(connection)
        except CONTENTION as error:
            if tried == limits.tries:
                raise patience_over(error, script, limits, timeout_ms, doubt=_in_doubt(connection)) from error
            tell_retry(script, tried, error)
            time.sleep(next(pauses))
        except psycopg.Error as error:
            raise stop_for(error, connection, script) from error
    raise AssertionError("tries is at least 1")


def _in_doubt(connection: Connection[Any]) -> str:
    """Two-phase transactions of this database: they hold their locks until somebody ends them, restarts included."""
    row = connection.execute(
        "SELECT gid, owner, count(*) OVER () FROM pg_prepared_xacts WHERE database = current_database()"
        " ORDER BY prepared LIMIT 1"
    ).fetchone()
    if row is None:
        return ""
    gid, owner, number = row
    return (
        f"; {number} prepared transaction(s) hold theirs until they are ended, the oldest is prepared transaction "
        f"{gid!r} of {owner}: COMMIT PREPARED or ROLLBACK PREPARED {gid!r}"
    )


def backoffs(limits: Limits) -> Iterator[float]:
    """Seconds before each further try: doubled, at most 5, and each a random part of it from a half up. Two that
    deadlocked, or that wait for the same lock, would otherwise meet again."""
    seconds = limits.backoff_ms / 1000
    while True:
        yield seconds * random.uniform(0.5, 1)  # noqa: S311 - chance, not secrecy
        seconds = min(seconds * 2, _LONGEST_BACKOFF_SECONDS)


def tell_retry(script: Script, tried: int, error: psycopg.Error) -> None:
    log_line("warning", "not granted, trying again", file=script.label, tried=tried, sqlstate=error.sqlstate)


def run_script(connection: Connection[Any], script: Script) -> None:
    """All statements of a file, each by itself, so that a failing one can be named."""
    for statement in statements(script.text):
        try:
            connection.execute(statement.text.encode())
        except CONTENTION:
            raise
        except psycopg.Error as error:
            raise stop_for(error, connection, script, statement) from error


def run_single(connection: Connection[Any], script: Script) -> Cursor[Any]:
    """The one statement of a file; the protocol used here takes no second one."""
    for statement in statements(script.text):
        try:
            return connection.execute(statement.text.encode(), binary=True)
        except CONTENTION:
            raise
        except psycopg.Error as error:
            raise stop_for(error, connection, script, statement) from error
    raise AssertionError("files without a statement are refused before")


def count(connection: Connection[Any], limits: Limits, script: Script) -> int:
    """The one number that a query answers, read without the right to write."""

    def ask(at: Connection[Any]) -> int:
        at.execute("SET TRANSACTION READ ONLY")
        rows = run_single(at, script).fetchall()
        value = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise Refused(
                Reason.FILES_INVALID,
                f"{script.label}: its answer is not one number from 0 ({len(rows)} rows)",
                "make it a SELECT count(*) of the rows whose two shapes disagree",
                version=script.version.text,
            )
        return value

    return with_patience(connection, limits, script, limits.query_timeout_ms, ask)


def _check_server(connection: Connection[Any], dsn: Dsn) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise Refused(
            Reason.ENGINE_UNSUPPORTED,
            f"DATABASE_URL: {dsn.place} is PostgreSQL {connection.info.server_version // 10_000}",
            f"use PostgreSQL {OLDEST_SERVER // 10_000} or later",
        )
    with translated(connection):
        row = connection.execute(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"
        ).fetchone()
    if row is None or row[0]:
        raise TryAgain(
            Reason.DATABASE_READ_ONLY,
            f"DATABASE_URL: {dsn.place} takes no writes (a standby, or default_transaction_read_only)",
            "point the Secret at the primary",
        )


def settle(connection: Connection[Any]) -> None:
    """A script may have left settings behind; the next one starts from the role's defaults."""
    connection.execute("RESET ALL")
    # A runner that was killed is noticed in the middle of a statement too, and its transaction undone.
    connection.execute("SET client_connection_check_interval = '1s'")
    connection.execute("SET idle_in_transaction_session_timeout = '60s'")
    # What we answer must outlive a crash of the server, whatever the application can do with.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


def limit_session(connection: Connection[Any], lock_timeout_ms: int, statement_timeout_ms: int) -> None:
    """For statements that run outside of a transaction; `settle` takes it back."""
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
        (str(lock_timeout_ms), str(statement_timeout_ms)),
    )


def _limit(connection: Connection[Any], lock_timeout_ms: int, statement_timeout_ms: int) -> None:
    connection.execute(
        "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
        (str(lock_timeout_ms), str(statement_timeout_ms)),
    )


def patience_over(
    error: psycopg.Error,
    script: Script,
    limits: Limits,
    timeout_ms: int,
    lock_timeout_ms: int | None = None,
    *,
    doubt: str = "",
) -> TryAgain:
    """What is said when the last try ended like the others."""
    reason = Reason.LOCK_NOT_GRANTED
    if isinstance(error, errors.QueryCanceled):
        reason = Reason.STATEMENT_TOO_LONG
        cause = f"a statement took longer than {timeout_ms} ms"
        mend = (
            "make it shorter: long work belongs in the batches of migrate.sql, and indexes and validations in "
            "online.sql"
        )
    else:
        asked_ms = limits.lock_timeout_ms if lock_timeout_ms is None else lock_timeout_ms
        cause = f"a lock was not granted within {asked_ms} ms ({_one_line(_primary(error))})"
        mend = f"look for long transactions on the table (pg_stat_activity, oldest xact_start) and let them end{doubt}"
    return TryAgain(
        reason,
        f"{script.label}: {cause}, {limits.tries} times; nothing of it was applied",
        mend,
        version=script.version.text,
    )


def stop_for(
    error: psycopg.Error,
    connection: Connection[Any],
    script: Script | None,
    statement: Statement | None = None,
) -> Stop:
    """`message_primary` alone: the detail of an error quotes rows."""
    where = f"{script.label}: " if script else ""
    version = script.version.text if script else None
    state = error.sqlstate or ""
    if connection.broken or connection.closed or state.startswith(_LOST_CLASSES):
        return TryAgain(
            Reason.CONNECTION_LOST,
            f"{where}the connection ended: {_one_line(_primary(error))}",
            "nothing of the last transaction was kept; run again, unless a newer attempt ended this one",
            version=version,
        )
    if state.startswith(_SURROUNDINGS_CLASSES) or isinstance(error, CONTENTION):
        return TryAgain(
            Reason.DATABASE_UNREACHABLE,
            f"{where}the database is short of something: {_one_line(_primary(error))}",
            "see the server's log; then run again",
            version=version,
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return TryAgain(
            Reason.DATABASE_READ_ONLY,
            f"{where}the database takes no writes",
            "point the Secret at the primary",
            version=version,
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return Refused(
            Reason.RIGHTS_MISSING,
            f"{where}{_one_line(_primary(error))}",
            "grant it to the role of DATABASE_URL; for the ledger that is CREATE on the database",
            version=version,
        )
    place = f"{script.label} line {_line(error, statement)}" if script else "ledger"
    return Refused(
        Reason.SQL_FAILED,
        f"{place}: {_one_line(_primary(error))} (SQLSTATE {state or 'unknown'})",
        "mend the file; the transaction was undone, nothing of it was applied",
        version=version,
    )


def _line(error: psycopg.Error, statement: Statement | None) -> int:
    """Where PostgreSQL gives a position, counted in characters from 1, that; else where the statement begins."""
    first = statement.line if statement else 1
    position = error.diag.statement_position or ""
    if not statement or not position.isdigit():
        return first
    return first + statement.text.count("\n", 0, int(position) - 1)


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())
