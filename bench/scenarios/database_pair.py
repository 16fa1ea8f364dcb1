"""A real PostgreSQL primary with a streaming standby, and a large table of mc 1.0.0 on it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from tests.migrator.server import Server, running_server, streaming_standby

#: As a server at work has it, other than the tests' own: commits wait for the disk.
_SETTINGS = (
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "max_connections=150",
    "shared_buffers=1GB",
    "maintenance_work_mem=512MB",
    "max_wal_size=4GB",
    "wal_keep_size=1GB",
    "checkpoint_timeout=10min",
)
_CATCH_UP_SECONDS = 1800.0
_FILL = """
INSERT INTO executions (id, tenant, owner, name, state, created_at)
SELECT md5('execution ' || n)::uuid, 'tenant-' || n % 40,
       CASE n % 10 WHEN 0 THEN 'just a name ' || n ELSE 'Ada Lovelace ' || n || ' <ada' || n || '@example.org>' END,
       'run-' || n, 'finished', now() - n * interval '1 second'
FROM generate_series(1, {rows}) AS n
"""
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), coalesce(o.conname, ''),
       coalesce(pg_get_constraintdef(o.oid), '')
FROM pg_index i LEFT JOIN pg_constraint o ON o.conindid = i.indexrelid AND o.contype = 'p'
WHERE i.indrelid = 'executions'::regclass
"""


@dataclass(frozen=True)
class Pair:
    primary: Server
    standby: Server

    def copy(self, template: str, name: str) -> None:
        """Raises TimeoutError where the standby does not get it too."""
        with self.primary.connect() as connection:
            # By files: what every page of it says needs no place in the WAL.
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        self.caught_up()

    def drop(self, name: str) -> None:
        with self.primary.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def caught_up(self) -> None:
        """Until the standby has replayed what the primary has now."""
        with self.primary.connect() as primary, self.standby.connect() as standby:
            row = primary.execute("SELECT pg_current_wal_lsn()::text").fetchone()
            assert row is not None
            deadline = time.monotonic() + _CATCH_UP_SECONDS
            while time.monotonic() < deadline:
                reached = standby.execute(
                    "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (row[0],)
                ).fetchone()
                if reached and reached[0]:
                    return
                primary.execute("SELECT pg_sleep(0.05)")
        raise TimeoutError(f"the standby was still behind after {_CATCH_UP_SECONDS:.0f} s")


@contextmanager
def primary_at(folder: Path, rows: int) -> Iterator[Server]:
    """Goes on with what a run of as many rows, which broke off, left in the folder."""
    place = folder / f"primary-{rows}"
    place.mkdir(parents=True, exist_ok=True)
    with running_server(place, *_SETTINGS) as server:
        yield server


@contextmanager
def followed(primary: Server, folder: Path) -> Iterator[Pair]:
    """Made anew each time: what matters is what it replays from now on."""
    place = folder / "standby"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with streaming_standby(primary, place, *_SETTINGS) as standby:
        yield Pair(primary, standby)


def has_database(server: Server, name: str) -> bool:
    with server.connect() as connection:
        return bool(connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone())


def fill(server: Server, name: str, rows: int) -> None:
    """The indexes are made after the rows, which takes a fifth of the time."""
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        indexes = connection.execute(_INDEXES.encode()).fetchall()
        for index, _, key, _ in indexes:
            what = f"ALTER TABLE executions DROP CONSTRAINT {key}" if key else f"DROP INDEX {index}"
            connection.execute(what.encode())
        connection.execute(_FILL.format(rows=int(rows)).encode())
        for _, definition, key, constraint in indexes:
            what = f"ALTER TABLE executions ADD CONSTRAINT {key} {constraint}" if key else definition
            connection.execute(what.encode())
        connection.execute("VACUUM ANALYZE executions")
        connection.execute("CHECKPOINT")
