"""What the ledger says about each version, and how a line is added to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from migrator.answer import State
from migrator.ledger_schema import ledger_version
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
    event: str
    state: State | None
    upgrade: str
    bootstrap: bool
    digests: Mapping[str, str]
    cursor: str
    rows_done: int


Records = Mapping[Version, Record]


def fold(entries: Iterable[Entry]) -> Records:
    """Events in their order become one record a version."""
    records: dict[Version, Record] = {}
    for entry in entries:
        record = records.get(entry.version, Record(entry.version))
        if entry.state is State.BACKED_OUT:
            # What was taken back may come again with other files: a new epoch.
            records[entry.version] = Record(entry.version, State.BACKED_OUT, entry.upgrade)
            continue
        record = replace(record, digests={**record.digests, **entry.digests})
        if entry.event == "batch" or entry.state is State.MIGRATED:
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
            event=event,
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


@dataclass(frozen=True)
class Pen:
    """Writes lines for one attempt, each with its fence token, in the transaction that its caller opened."""

    request: Request
    token: int

    def append(
        self,
        connection: Connection[Any],
        phase: Verb,
        event: str,
        *,
        version: Version | None = None,
        state: State | None = None,
        digests: Mapping[str, str] | None = None,
        cursor: str | None = None,
        rows_done: int | None = None,
        divergence: int | None = None,
        message: str = "",
    ) -> None:
        connection.execute(
            """
            INSERT INTO maestro_conductor.events
                (control_plane, upgrade, attempt, fence, phase, event, version, state,
                 from_version, to_version, digests, cursor, rows_done, divergence, message)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                self.request.control_plane, self.request.upgrade, self.request.attempt, self.token,
                phase.value, event, version.text if version else None, state.value if state else None,
                self.request.source_text, self.request.target.text, Jsonb(dict(digests or {})),
                cursor, rows_done, divergence, message,
            ),
        )  # fmt: skip


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
