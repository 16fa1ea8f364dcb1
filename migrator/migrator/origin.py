"""Which server keeps the ledger: a line of another origin than the one before it means that somebody failed over,
or restored the database elsewhere."""

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from migrator.stops import Reason, Refused

_TIMELINE = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"


@dataclass(frozen=True)
class Origin:
    """A primary. Every promotion begins a new timeline; the identifier is made by initdb and survives copies."""

    system_id: str | None
    """None where this role may not ask for it: unknown, which is the same as nothing"""
    timeline: int

    @property
    def label(self) -> str:
        return f"system {self.system_id or 'unknown'}, timeline {self.timeline}"


def origin_of(connection: Connection[Any]) -> Origin:
    """Of the primary that `connection` leads to."""
    row = connection.execute(f"SELECT {_TIMELINE}").fetchone()
    assert row is not None
    return Origin(system_id_of(connection), int(row[0]))


def system_id_of(connection: Connection[Any]) -> str | None:
    """Of any server, also a standby; None where the role may not ask."""
    row = connection.execute("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')").fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return str(row[0]) if row else None


def last_origin(connection: Connection[Any]) -> Origin | None:
    """Where the newest line that vouches for its server was written; None where there is none."""
    row = connection.execute(
        "SELECT system_id, timeline FROM maestro_conductor.events WHERE timeline IS NOT NULL"
        " ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return Origin(row[0], int(row[1])) if row else None


def moved(before: Origin | None, now: Origin) -> bool:
    """Whether the ledger is kept by another server than before. What is unknown is not held against anyone."""
    if before is None:
        return False
    both_known = before.system_id is not None and now.system_id is not None
    return before.timeline != now.timeline or (both_known and before.system_id != now.system_id)


def failed_over(before: Origin, now: Origin) -> Refused:
    """The one attempt that finds it so stops; the line it leaves lets the next one through."""
    return Refused(
        Reason.FAILED_OVER,
        f"the ledger was kept by {before.label}, and is by {now.label} now: a standby was promoted, or the "
        "database was restored",
        "look whether the last commits before it are there and which replicas follow; then retry",
    )
