"""One runner at a time, and only the newest attempt writes.

The advisory lock keeps two runners from working side by side. The fence token outlives it: every transaction
of a runner checks it, so that one cut off from its lock without knowing can commit nothing any more.
"""

import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from migrator.answer import log_line
from migrator.direct import behind_a_pooler
from migrator.ledger import Pen
from migrator.ledger_schema import LOCK_SPACE, RUNNER_LOCK
from migrator.lines import Event
from migrator.origin import origin_of
from migrator.request import Request, Verb
from migrator.settings import Settings
from migrator.stops import Reason, Refused, TryAgain

_ORDER = {Verb.EXPAND.value: 1, Verb.MIGRATE.value: 2, Verb.CONTRACT.value: 3, Verb.BACKOUT.value: 4}
_POLL_SECONDS = 0.1


class Standing(Enum):
    """How an attempt stands to the one that the fence names."""

    OLDER = auto()
    SAME = auto()
    NEWER = auto()


@dataclass(frozen=True)
class Holder:
    """The attempt that took the fence last."""

    control_plane: str
    token: int
    upgrade: str
    phase: str
    attempt: int

    @property
    def label(self) -> str:
        return f"{self.phase} attempt {self.attempt} of upgrade {self.upgrade}"


def standing(request: Request, holder: Holder | None, *, upgrade_seen: bool) -> Standing:
    """An upgrade that the ledger has seen, and that another one followed, never comes back."""
    if holder is None:
        return Standing.NEWER
    if request.upgrade != holder.upgrade:
        return Standing.OLDER if upgrade_seen else Standing.NEWER
    mine = (_ORDER[request.verb.value], request.attempt)
    theirs = (_ORDER[holder.phase], holder.attempt)
    if mine == theirs:
        return Standing.SAME
    return Standing.NEWER if mine > theirs else Standing.OLDER


def take_fence(connection: Connection[Any], request: Request, settings: Settings) -> Pen:
    """Wait for the advisory lock, ending an older attempt that still holds it, and raise the fence."""
    deadline = time.monotonic() + settings.limits.lock_wait_seconds
    while True:
        _refuse_when_older(connection, request, settings)
        if _try_lock(connection):
            break
        holder = _holder(connection)
        if holder is not None and _standing(connection, request, holder) is Standing.NEWER:
            end_backend_of(connection, holder)
        if time.monotonic() > deadline:
            raise TryAgain(
                Reason.RUNNER_BUSY,
                f"another runner has been working on this database for {settings.limits.lock_wait_seconds} s",
                "wait until it ends; where it hangs, start the next attempt (--attempt), which ends it",
            )
        time.sleep(_POLL_SECONDS)
    _end_tools(connection, request)
    with connection.transaction():
        connection.execute("LOCK TABLE maestro_conductor.fence IN EXCLUSIVE MODE")
        _refuse_when_older(connection, request, settings)
        row = connection.execute(
            """
            INSERT INTO maestro_conductor.fence AS f
                (control_plane, token, upgrade, phase, attempt, backend_pid)
            VALUES (%s, 1, %s, %s, %s, pg_backend_pid())
            ON CONFLICT (only_row) DO UPDATE SET control_plane = excluded.control_plane, token = f.token + 1,
                upgrade = excluded.upgrade, phase = excluded.phase, attempt = excluded.attempt,
                backend_pid = excluded.backend_pid, taken_at = clock_timestamp()
            RETURNING token, backend_pid
            """,
            (request.control_plane, request.upgrade, request.verb.value, request.attempt),
        ).fetchone()
        assert row is not None
        _catch_up_numbers(connection)
        pen = Pen(request, int(row[0]), origin_of(connection), int(row[1]))
        pen.append(connection, request.verb, Event.STARTED)
    return pen


def _catch_up_numbers(connection: Connection[Any]) -> None:
    """A database that was copied from a template may lose the last values of a sequence at a failover: what the
    copy thinks is logged already was logged for the template. The lines themselves are all there."""
    connection.execute(
        """
        SELECT setval(numbers.name, lines.newest)
        FROM (SELECT pg_get_serial_sequence('maestro_conductor.events', 'seq')::regclass AS name) AS numbers,
             (SELECT max(seq) AS newest FROM maestro_conductor.events) AS lines
        WHERE lines.newest > coalesce(pg_sequence_last_value(numbers.name), 0)
        """
    )


def hold_fence(connection: Connection[Any], pen: Pen) -> None:
    """Within a transaction: no newer attempt has begun, and none begins before this transaction ends.

    The transaction runs on the very backend that holds the advisory lock, or something between shares it out.
    """
    row = connection.execute(
        "SELECT token, pg_backend_pid() FROM maestro_conductor.fence FOR SHARE"
    ).fetchone()
    if row is not None and int(row[1]) != pen.backend:
        raise behind_a_pooler(f"a transaction ran on backend {row[1]}, the lock is held by {pen.backend}")
    if row is None or int(row[0]) != pen.token:
        raise Refused(
            Reason.SUPERSEDED,
            f"fence token {pen.token} of this attempt was followed by {row[0] if row else 'none'}",
            "nothing to mend: a newer attempt does the work",
        )


def check_owner(found: str, request: Request, adopt_from: str) -> None:
    """Refuse a database that serves another control plane."""
    if found in ("", request.control_plane) or found == adopt_from:
        return
    raise Refused(
        Reason.FOREIGN_CONTROL_PLANE,
        f"DATABASE_URL: this database belongs to control plane {found}, not to {request.control_plane}",
        f"give each control plane a database of its own; if {found} was renamed to {request.control_plane}, "
        f"run once with MIGRATOR_ADOPT_FROM={found}",
    )


def _holder(connection: Connection[Any]) -> Holder | None:
    row = connection.execute(
        "SELECT control_plane, token, upgrade, phase, attempt FROM maestro_conductor.fence"
    ).fetchone()
    return Holder(*row) if row else None


def _standing(connection: Connection[Any], request: Request, holder: Holder) -> Standing:
    seen = connection.execute(
        "SELECT EXISTS (SELECT FROM maestro_conductor.events WHERE upgrade = %s)", (request.upgrade,)
    ).fetchone()
    return standing(request, holder, upgrade_seen=bool(seen and seen[0]))


def _refuse_when_older(connection: Connection[Any], request: Request, settings: Settings) -> None:
    holder = _holder(connection)
    if holder is None:
        return
    check_owner(holder.control_plane, request, settings.adopt_from)
    if _standing(connection, request, holder) is Standing.OLDER:
        raise Refused(
            Reason.SUPERSEDED,
            f"{request.verb.value} attempt {request.attempt} of upgrade {request.upgrade} "
            f"comes after {holder.label}",
            "to do it all the same, use the next attempt of the latest upgrade, or a new upgrade id",
        )


def _try_lock(connection: Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, RUNNER_LOCK)).fetchone()
    return bool(row and row[0])


def end_backend_of(connection: Connection[Any], older: Holder) -> None:
    """End the backend that holds the lock, where it is still the one of the attempt that was judged older.

    A holder that the fence does not name yet is just raising it, and one that raised it since `older` was read
    has another token: either may be as new as we are.
    """
    try:
        ended = connection.execute(
            """
            SELECT pid, pg_terminate_backend(pid)
            FROM pg_locks JOIN maestro_conductor.fence ON backend_pid = pid
            WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 2
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND token = %s
            """,
            (LOCK_SPACE, RUNNER_LOCK, older.token),
        ).fetchall()
    except InsufficientPrivilege as error:
        raise TryAgain(
            Reason.RIGHTS_MISSING,
            "the backend of an older attempt still runs, and this role may not end it",
            "use the same role for every Job, or GRANT pg_signal_backend to this one",
        ) from error
    for pid, done in ended:
        log_line("warning", "backend of an older attempt ended", backend=pid, ended=done)


def tool_name(control_plane: str) -> str:
    """By which the backends of a tool are known to the next attempt."""
    return f"migrator-tool {control_plane}"[:63]


def _end_tools(connection: Connection[Any], request: Request) -> None:
    """Whoever holds the advisory lock has started no tool yet: one that works was left by a runner that is gone."""
    ended = connection.execute(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = current_user AND application_name = %s",
        (tool_name(request.control_plane),),
    ).fetchall()
    for pid, done in ended:
        log_line("warning", "backend of an older attempt's tool ended", backend=pid, ended=done)
