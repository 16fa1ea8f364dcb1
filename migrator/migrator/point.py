"""The moment before a contract step: where a restore would have to end, and whether this server shows that one could.

`verified` is said of three things that the server itself shows: WAL is archived, the segment that holds the moment has
been, and a base backup that begins before it was finished. That a restore works is only ever known from restoring.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from migrator.fence import hold_fence
from migrator.ledger import Pen
from migrator.ledger_schema import ledger_version
from migrator.lines import Event
from migrator.request import Verb
from migrator.settings import Limits

_SINCE = 3
"""the ledger's version that has such lines"""
_POLL_SECONDS = 0.2
_NOW = "SELECT pg_current_wal_insert_lsn()::text, clock_timestamp(), pg_walfile_name(pg_current_wal_insert_lsn())"
_ARCHIVED = """
SELECT CASE WHEN last_archived_wal ~ '^[0-9A-F]{24}' THEN left(last_archived_wal, 24) END,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
FROM pg_stat_archiver
"""
_BACKUPS = """
SELECT min(left(name, 24)) FROM pg_ls_archive_statusdir()
WHERE name ~ '^[0-9A-F]{24}[.][0-9A-F]{8}[.]backup[.]done$' AND left(name, 8) = left(%s, 8)
"""


@dataclass(frozen=True)
class Pitr:
    """Whether the moment can be gone back to, as far as the server shows."""

    verified: bool
    why: str

    @property
    def text(self) -> str:
        return f"{'verified' if self.verified else 'unverified'}: {self.why}"


def note_point(connection: Connection[Any], pen: Pen, limits: Limits, *, proven: bool) -> None:
    """Write down the moment; `proven`: that no session of the old version was left by then."""
    row = connection.execute(_NOW).fetchone()
    assert row is not None
    lsn, at, segment = row
    pitr = _judge(connection, limits, segment)
    with connection.transaction():
        hold_fence(connection, pen)
        pen.append_point(connection, lsn, at, pitr.text, "proven" if proven else "unproven")


def last_point(connection: Connection[Any], upgrade: str) -> dict[str, object] | None:
    """The moment before this upgrade's contract step, as the answer shows it; None where none was written down."""
    if ledger_version(connection) < _SINCE:
        return None
    row = connection.execute(
        "SELECT lsn::text, lsn_at, timeline, pitr, sessions FROM maestro_conductor.events"
        " WHERE upgrade = %s AND phase = %s AND event = %s ORDER BY seq DESC LIMIT 1",
        (upgrade, Verb.CONTRACT.value, Event.POINT.value),
    ).fetchone()
    if row is None:
        return None
    lsn, at, timeline, pitr, sessions = row
    said, _, why = pitr.partition(": ")
    return {
        "lsn": lsn, "at": _instant(at), "timeline": timeline, "pitr": said, "pitrReason": why, "sessions": sessions,
    }  # fmt: skip


def _judge(connection: Connection[Any], limits: Limits, segment: str) -> Pitr:
    if _setting(connection, "archive_mode") == "off":
        return Pitr(False, "archive_mode is off, no WAL is archived")
    if _may(connection, "pg_switch_wal()"):
        connection.execute("SELECT pg_switch_wal()")
    deadline = time.monotonic() + limits.archive_wait_seconds
    while (lack := _not_archived(connection, segment)) is not None:
        if time.monotonic() > deadline:
            return Pitr(False, lack)
        time.sleep(_POLL_SECONDS)
    if not _may(connection, "pg_ls_archive_statusdir()"):
        return Pitr(
            False, "whether there is a base backup is unknown; GRANT pg_monitor to the role of DATABASE_URL"
        )
    row = connection.execute(_BACKUPS, (segment,)).fetchone()
    first = row[0] if row else None
    if first is None or first > segment:
        return Pitr(False, "this server knows of no base backup; one taken elsewhere is not seen here")
    return Pitr(True, f"WAL is archived up to {segment}, a base backup begins at {first}")


def _not_archived(connection: Connection[Any], segment: str) -> str | None:
    row = connection.execute(_ARCHIVED).fetchone()
    archived, failing = row if row is not None else (None, False)
    if archived is not None and archived[:8] == segment[:8] and archived >= segment:
        return None
    said = f"WAL segment {segment} is not archived yet, the last one is {archived or 'none'}"
    return f"{said}; the archiver fails, see the server's log" if failing else said


def _setting(connection: Connection[Any], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def _may(connection: Connection[Any], function: str) -> bool:
    row = connection.execute("SELECT has_function_privilege(%s, 'EXECUTE')", (function,)).fetchone()
    return bool(row and row[0])


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
