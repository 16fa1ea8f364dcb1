"""What the ledger says about each version, and how a line is added to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from migrator.answer import State
from migrator.ledger_schema import ledger_version
from migrator.lines import LINES, Event
from migrator.origin import Origin
from migrator.request import Request, Verb
from migrator.scripts import Library
from migrator.semver import Version
from migrator.stops import Reason, Refused


@dataclass(frozen=True)
class Record:
    """One version as the ledger has it."""

    version: Version
    state: State = State.NONE
    upgrade: str = ""
    """the upgrade that last brought it to another state"""
    bootstrapped: bool = False
    """expanded by a bootstrap, with no older version at work"""
    digests: Mapping[str, str] = field(default_factory=dict)
    """of the files that were applied: these may not change any more"""
    cursor: str = ""
    rows_done: int = 0


@dataclass(frozen=True)
class Entry:
    """One event, as read back."""

    version: Version
    event: Event
    state: State | None
    upgrade: str
    bootstrap: bool
    digests: Mapping[str, str]
    cursor: str
    rows_done: int


Records = Mapping[Version, Record]


def fold(entries: Iterable[Entry], before: Records | None = None) -> Records:
    """Events in their order become one record a version, on top of what was known `before` them."""
    records: dict[Version, Record] = dict(before or {})
    for entry in entries:
        record = records.get(entry.version, Record(entry.version))
        if entry.state is State.BACKED_OUT:
            # What was taken back may come again with other files: a new epoch.
            records[entry.version] = Record(entry.version, State.BACKED_OUT, entry.upgrade)
            continue
        record = replace(record, digests={**record.digests, **entry.digests})
        if entry.event is Event.BATCH or entry.state is State.MIGRATED:
            record = replace(record, cursor=entry.cursor, rows_done=entry.rows_done)
        if entry.state is not None:
            record = replace(record, state=entry.state, upgrade=entry.upgrade)
        if entry.state is State.EXPANDED:
            record = replace(record, bootstrapped=entry.bootstrap)
        records[entry.version] = record
    return records


def read_records(connection: Connection[Any]) -> Records:
    """Every version that the ledger knows; of a backfill's batches only the last one is read."""
    if ledger_version(connection) == 0:
        return {}
    columns = "seq, version, event, state, upgrade, from_version, digests, cursor, rows_done"
    rows = connection.execute(
        f"""
        SELECT * FROM (
            SELECT {columns} FROM maestro_conductor.events WHERE event = 'applied'
            UNION ALL
            (SELECT DISTINCT ON (version) {columns} FROM maestro_conductor.events
             WHERE event = 'batch' ORDER BY version, seq DESC)
        ) AS told ORDER BY seq
        """  # noqa: S608 - the column names are the literal above
    ).fetchall()
    return fold(
        Entry(
            version=Version.parse(version),
            event=Event(event),
            state=State(state) if state else None,
            upgrade=upgrade,
            bootstrap=from_version == "",
            digests=digests,
            cursor=cursor or "",
            rows_done=rows_done or 0,
        )
        for _, version, event, state, upgrade, from_version, digests, cursor, rows_done in rows
    )


def owner_of(connection: Connection[Any]) -> str:
    """The control plane that this database belongs to; empty before the first upgrade."""
    if ledger_version(connection) == 0:
        return ""
    row = connection.execute("SELECT control_plane FROM maestro_conductor.fence").fetchone()
    return str(row[0]) if row else ""


def last_line(connection: Connection[Any]) -> int:
    """The number of the newest line; 0 where there is none. Numbers of lines undone are never used again."""
    if ledger_version(connection) == 0:
        return 0
    row = connection.execute("SELECT coalesce(max(seq), 0) FROM maestro_conductor.events").fetchone()
    return int(row[0]) if row else 0


def schema_range(records: Records) -> tuple[str, str]:
    """Which versions the schema is for: the oldest that works on it, and the newest whose SQL is in it.

    The first is empty where nothing was ever taken away: then whatever worked before still does.
    """
    floor = [
        version
        for version, record in records.items()
        if record.state is State.CONTRACTED and (record.bootstrapped or "contract.sql" in record.digests)
    ]
    present = [
        version
        for version, record in records.items()
        if record.state in (State.EXPANDED, State.MIGRATED, State.CONTRACTED)
    ]
    return (max(floor).text if floor else "", max(present).text if present else "")


@dataclass(frozen=True)
class Pen:
    """Writes lines for one attempt, each with its fence token, in the transaction that its caller opened."""

    request: Request
    token: int
    origin: Origin
    backend: int
    """process id of the server's process that holds the fence"""

    def append(
        self,
        connection: Connection[Any],
        phase: Verb,
        event: Event,
        *,
        version: Version | None = None,
        state: State | None = None,
        digests: Mapping[str, str] | None = None,
        cursor: str | None = None,
        rows_done: int | None = None,
        divergence: int | None = None,
        message: str = "",
        about: str = "",
    ) -> None:
        """`about` is the object, where the line is about one of the schema's."""
        if (phase, event) not in LINES:
            raise AssertionError(f"lines.py does not know of {event} at {phase}")
        schema: tuple[str | None, str | None] = (None, None)
        if version is not None and state is not None:
            schema = self._schema_after(connection, version, state, digests or {})
        # An attempt that has only started vouches for nothing yet, not even for the server.
        origin = (None, None) if event is Event.STARTED else (self.origin.system_id, self.origin.timeline)
        connection.execute(
            """
            INSERT INTO maestro_conductor.events
                (control_plane, upgrade, attempt, fence, phase, event, version, state,
                 from_version, to_version, digests, cursor, rows_done, divergence, message,
                 object, schema_from, schema_to, system_id, timeline)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                self.request.control_plane, self.request.upgrade, self.request.attempt, self.token,
                phase.value, event.value, version.text if version else None, state.value if state else None,
                self.request.source_text, self.request.target.text, Jsonb(dict(digests or {})),
                cursor, rows_done, divergence, message, about, *schema, *origin,
            ),
        )  # fmt: skip

    def append_point(
        self, connection: Connection[Any], lsn: str, at: datetime, pitr: str, sessions: str
    ) -> None:
        """The moment before a contract step."""
        if (Verb.CONTRACT, Event.POINT) not in LINES:
            raise AssertionError("lines.py does not know of the moment before a contract step")
        connection.execute(
            """
            INSERT INTO maestro_conductor.events
                (control_plane, upgrade, attempt, fence, phase, event, from_version, to_version,
                 system_id, timeline, lsn, lsn_at, pitr, sessions)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                self.request.control_plane, self.request.upgrade, self.request.attempt, self.token,
                Verb.CONTRACT.value, Event.POINT.value, self.request.source_text, self.request.target.text,
                self.origin.system_id, self.origin.timeline, lsn, at, pitr, sessions,
            ),
        )  # fmt: skip

    def _schema_after(
        self, connection: Connection[Any], version: Version, state: State, digests: Mapping[str, str]
    ) -> tuple[str, str]:
        """The schema's range once the line that is being written stands."""
        before = read_records(connection)
        entry = Entry(
            version, Event.APPLIED, state, self.request.upgrade, self.request.bootstrap, digests, "", 0
        )
        return schema_range(fold([entry], before))


def check_digests(library: Library, records: Records, request: Request) -> None:
    """Refuse an image in which a file that was applied reads otherwise today."""
    for version, record in sorted(records.items()):
        crossed = request.covers(version)
        if version > request.target or (version not in library and not crossed):
            continue
        for name, applied in sorted(record.digests.items()):
            script = library.get(version, {}).get(name)
            brought = script.digest if script else "no such file"
            if brought != applied:
                raise Refused(
                    Reason.DIGEST_CHANGED,
                    f"{version}/{name} was applied as {applied}, and the image brings {brought}",
                    f"put the file back as it was and make the change in a new version; or run backout for "
                    f"{version} and begin a new upgrade, which may bring other files",
                    version=version.text,
                )


def check_nothing_lost(connection: Connection[Any], request: Request) -> None:
    """Refuse to go forward on a database that has forgotten what the release was told."""
    found = last_line(connection)
    if found < request.ledger_line:
        raise Refused(
            Reason.LEDGER_BEHIND,
            f"the ledger ends at line {found}, and the release was told of line {request.ledger_line}: a standby "
            "without the last commits was promoted, the database was restored, or this is another one",
            "find out which commits are missing before anything goes on; docs/ledger.md tells how to let the "
            "release take the database as it is",
        )


def check_not_behind(records: Records, request: Request) -> None:
    """Refuse to serve a version whose schema was contracted away."""
    for version, record in sorted(records.items()):
        if version > request.target and record.state is State.CONTRACTED and "contract.sql" in record.digests:
            raise Refused(
                Reason.CONTRACT_COMMITTED,
                f"--to {request.target}: the database was contracted to {version}, no older one works on it",
                f"upgrade to {version} or later; to go back in time, restore the database from a backup",
                version=version.text,
            )
