"""What a replica shows of itself, and what follows from it: it has what the primary's ledger says, or it has not and
why. Lag in seconds is not asked for; an idle primary makes it meaningless."""

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from migrator.origin import Origin, system_id_of
from migrator.stops import Reason

_LOOK = """
SELECT recovering, coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint, 0),
       recovering AND pg_get_wal_replay_pause_state() <> 'not paused',
       EXISTS (SELECT FROM pg_stat_wal_receiver),
       (SELECT received_tli FROM pg_stat_wal_receiver),
       to_regclass('maestro_conductor.events') IS NOT NULL
FROM (SELECT pg_is_in_recovery() AS recovering) AS asked
"""
_LINE = "SELECT seq, fence, committed_at::text FROM maestro_conductor.events ORDER BY seq DESC LIMIT 1"
_POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"

Line = tuple[int, int, str]
"""number, fence token and time of a line: no other has all three"""


@dataclass(frozen=True)
class Mark:
    """What a replica has to show: written on the primary after the last commit."""

    origin: Origin
    lsn: int
    line: Line | None


@dataclass(frozen=True)
class Sighting:
    """One look at a replica."""

    endpoint: str
    recovering: bool
    system_id: str | None
    timeline: int | None
    """that it receives; None where it receives nothing or this role may not see it"""
    lsn: int
    """replayed"""
    paused: bool
    receiving: bool
    line: Line | None


@dataclass(frozen=True)
class Lack:
    """Why a replica does not count as having it."""

    reason: Reason
    message: str
    mend: str
    lasting: bool = False
    """waiting does not change it"""


def mark_of(primary: Connection[Any], origin: Origin) -> Mark:
    row = primary.execute(_POSITION).fetchone()
    assert row is not None
    return Mark(origin, int(row[0]), _last_line(primary))


def look(replica: Connection[Any], endpoint: str) -> Sighting:
    row = replica.execute(_LOOK).fetchone()
    assert row is not None
    recovering, lsn, paused, receiving, timeline, has_ledger = row
    return Sighting(
        endpoint, recovering, system_id_of(replica), timeline, lsn, paused, receiving,
        _last_line(replica) if has_ledger else None,
    )  # fmt: skip


def lack_of(seen: Sighting, mark: Mark) -> Lack | None:
    """None where the replica has replayed the mark, of this very primary, and shows the ledger's line."""
    where = f"replica {seen.endpoint}"
    known = seen.system_id is not None and mark.origin.system_id is not None
    if known and seen.system_id != mark.origin.system_id:
        return Lack(
            Reason.REPLICA_FOREIGN,
            f"{where} is of system {seen.system_id}, the primary of {mark.origin.system_id}",
            "correct its URL, or make it anew from this primary",
            lasting=True,
        )
    if not seen.recovering:
        return Lack(
            Reason.REPLICA_PROMOTED,
            f"{where} is no standby: it was promoted, or the URL leads to a primary",
            "make sure that only one of the two takes writes, correct the URLs in the Secret, then retry",
            lasting=True,
        )
    if seen.timeline is not None and seen.timeline < mark.origin.timeline and seen.paused:
        # It cannot follow a promotion above it before replay goes on; only then is it known whether it would.
        return _paused(
            f"{where}: replay is paused on timeline {seen.timeline}, the primary is on {mark.origin.timeline}"
        )
    if seen.timeline is not None and seen.timeline != mark.origin.timeline:
        return Lack(
            Reason.REPLICA_DIVERGED,
            f"{where} follows timeline {seen.timeline}, the primary is on {mark.origin.timeline}",
            "let it follow this primary (pg_rewind, or make it anew), or correct DATABASE_URL",
            lasting=True,
        )
    if seen.lsn >= mark.lsn and (mark.line is None or seen.line == mark.line):
        return None
    behind = f"{mark.lsn - seen.lsn} bytes behind, its ledger at line {seen.line[0] if seen.line else 0}"
    if seen.paused:
        return _paused(f"{where}: replay is paused, {behind}")
    if not seen.receiving:
        return Lack(
            Reason.REPLICA_CUT,
            f"{where} receives nothing from the primary, {behind}",
            "see its log: primary_conninfo, the network, a missing WAL file or slot",
        )
    return Lack(
        Reason.REPLICA_BEHIND,
        f"{where} is {behind}",
        "look for what slows its replay (long queries on it, recovery_min_apply_delay, its disk)",
    )


def _paused(message: str) -> Lack:
    return Lack(
        Reason.REPLICA_PAUSED, message, "SELECT pg_wal_replay_resume() there, and find out who paused it"
    )


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def _last_line(connection: Connection[Any]) -> Line | None:
    found = connection.execute("SELECT to_regclass('maestro_conductor.events') IS NOT NULL").fetchone()
    row = connection.execute(_LINE).fetchone() if found and found[0] else None
    return (int(row[0]), int(row[1]), str(row[2])) if row else None
