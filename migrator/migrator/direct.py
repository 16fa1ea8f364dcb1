"""Proof that a connection leads to one backend of the server, with no pooler between.

Whoever shares backends out between transactions takes away what the runner's safety stands on: the advisory lock
would be another client's a moment later, settings would be left behind for strangers, and ending "our" backend
would end somebody else's work.
"""

import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
from psycopg import Connection

from migrator.stops import Reason, Refused

_MARK = "maestro_conductor.direct"
_ROUNDS = 3


def check_direct(connection: Connection[Any], another: Callable[[], Connection[Any]]) -> None:
    """Raise Refused where something shares the backend out, or hides which one it is. Changes nothing.

    1. The server tells its process id when a connection begins. PgBouncer, in every mode, tells one of its own
       making there, so that it differs from the one that `pg_backend_pid()` gives.
    2. One that passes the true id on is found by what it does: what this session has set, the lock it has taken
       and its backend must be the same while a second connection sits in a transaction. A pool that shares
       backends out hands the second one the backend that the first is not using just then.
    """
    told = connection.info.backend_pid
    backend = _backend(connection)
    if told != backend:
        raise behind_a_pooler(
            f"the connection was said to be backend {told} when it began, and runs on {backend}"
        )
    mark = os.urandom(8).hex()
    lock = int.from_bytes(os.urandom(7), "big")
    connection.execute("SELECT set_config(%s, %s, false), pg_advisory_lock_shared(%s)", (_MARK, mark, lock))
    try:
        with closing(another()) as second:
            for _ in range(_ROUNDS):
                second.execute("BEGIN")
                _check_not_lent(second, backend, mark)
                _check_session(connection, backend, mark, lock)
                # One that keeps a stack of backends hands out the one that was given back last.
                second.execute("COMMIT")
                _check_session(connection, backend, mark, lock)
    finally:
        if not connection.closed and not connection.broken:
            connection.execute(
                "SELECT set_config(%s, '', false), pg_advisory_unlock_shared(%s)", (_MARK, lock)
            )


def behind_a_pooler(seen: str) -> Refused:
    return Refused(
        Reason.POOLER,
        f"DATABASE_URL leads through a connection pooler: {seen}",
        "point the Secret at PostgreSQL itself, the primary's own Service and port (often 5432, where a pooler has "
        "6432 or a host of its own); applications may go on using the pooler",
    )


def _check_not_lent(second: Connection[Any], backend: int, mark: str) -> None:
    row = second.execute(
        "SELECT pg_backend_pid(), coalesce(current_setting(%s, true), '')", (_MARK,)
    ).fetchone()
    if row is None or row[0] == backend or row[1] == mark:
        raise behind_a_pooler(
            f"a second connection was given the backend of the first ({backend}) and what it had set"
        )


def _check_session(connection: Connection[Any], backend: int, mark: str, lock: int) -> None:
    try:
        row = connection.execute(
            """
            SELECT pg_backend_pid(), coalesce(current_setting(%s, true), ''),
                   EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
                           AND objsubid = 1 AND (classid::bigint << 32) + objid::bigint = %s)
            """,
            (_MARK, lock),
        ).fetchone()
    except psycopg.OperationalError as error:
        raise behind_a_pooler(
            "with a second connection in a transaction, the first was given no backend"
        ) from error
    if row != (backend, mark, True):
        raise behind_a_pooler(
            f"between two statements the backend changed from {backend} to {row and row[0]}"
        )


def _backend(connection: Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
