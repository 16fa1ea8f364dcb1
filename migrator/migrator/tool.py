"""A migration tool of the application's own (Alembic, Flyway, Django) in place of SQL files.

The image says in `tool.json` how the tool is asked for its state and how it is moved to a target, and in each
version's `targets.json` which target belongs to which phase. The runner keeps the ledger around it: an intent, the
tool, and then the tool's own state, which has the last word. What a tool does it does in transactions of its own,
so a killed one is moved to the same target again.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from migrator.answer import log_line
from migrator.dsn import Redactor
from migrator.fence import hold_fence, tool_name
from migrator.ledger import Pen
from migrator.lines import Event
from migrator.lint.catalogue import Catalogue, packed, read_catalogue, unpacked
from migrator.lint.changes import JUDGES
from migrator.request import Verb
from migrator.scripts import Script
from migrator.settings import Limits
from migrator.sqltext import Fault
from migrator.stops import Reason, Refused, TryAgain
from migrator.tool_text import Targets, Tool, command_faults

CATALOGUE = "catalogue"
"""The name under which an intent keeps the catalogue that it began with."""
_KEPT_CHARACTERS = 600


def read_tool(folder: Path) -> Tool | None:
    """Raise Refused where `tool.json` does not say what is needed."""
    path = folder / "tool.json"
    if not path.is_file():
        return None
    try:
        tool = Tool.parse(path.read_text("utf-8"))
    except ValueError as error:
        raise Refused(
            Reason.FILES_INVALID, f"tool.json: {error}", "migrator/README.md shows one to copy"
        ) from error
    for fault in _faults(tool):
        raise Refused(Reason.FILES_INVALID, f"tool.json: {fault.message}", fault.mend)
    return tool


@dataclass(frozen=True)
class Move:
    """Brings the tool to one target after another, for one attempt."""

    connection: Connection[Any]
    pen: Pen
    limits: Limits
    tool: Tool
    database_url: str
    redact: Redactor

    def to(self, phase: Verb, script: Script, targets: Targets) -> tuple[str, ...]:
        """What contract did beyond what it may, which is told with the answer. Raise Refused where the tool fails, or
        says afterwards that it is elsewhere."""
        target, before = targets.of(phase), targets.before_of(phase)
        if target is None:
            return ()
        found, left_open = self._state(), self._left_open(script, phase)
        if found == target and left_open is None:
            return ()
        judged = phase is not Verb.BACKOUT and not self.pen.request.bootstrap
        known = left_open.catalogue if left_open is not None else None
        # A tool that stands where it began has done nothing yet; what is different by now, somebody mended.
        if judged and (left_open is None or found in before):
            known = read_catalogue(self.connection)
        if found != target:
            if found not in before and left_open is None:
                raise Refused(
                    Reason.STATE_UNEXPECTED,
                    f"{script.label}: the tool's state is {found!r}, and {phase.value} begins at "
                    f"{' or '.join(map(repr, before))}",
                    "bring the database and targets.json together: somebody moved the one, or the other names a "
                    "wrong target",
                    version=script.version.text,
                )
            self._move(phase, script, target, known)
        return tuple(self._compare(phase, script, targets, known)) if judged else ()

    def _move(self, phase: Verb, script: Script, target: str, known: Catalogue | None) -> None:
        with self.connection.transaction():
            hold_fence(self.connection, self.pen)
            # Kept until the phase is applied: whoever finds the tool half-way must know where it began.
            kept = {CATALOGUE: packed(known)} if known is not None else {}
            self.pen.append(
                self.connection, phase, Event.INTENT, version=script.version, about=target, digests=kept
            )
        self._run(self.tool.command(phase, target), phase, target, script.version.text)
        reached = self._state()
        if reached != target:
            raise Refused(
                Reason.STATE_UNEXPECTED,
                f"{script.label}: the tool ended with 0, and its state is {reached!r} instead of {target!r}",
                "see the log above; correct the target or the tool's command, then retry",
                version=script.version.text,
            )

    def _compare(
        self, phase: Verb, script: Script, targets: Targets, known: Catalogue | None
    ) -> Iterator[str]:
        """Raise Refused where the tool did to the schema what its phase may not do. It is committed by then; what is
        contracted cannot be taken back, and is only told."""
        if known is None:
            log_line(
                "warning", "what the tool did is not compared, an older runner began it", file=script.label
            )
            return
        for breach in JUDGES[phase.value](known, read_catalogue(self.connection)):
            because = targets.allow.get(breach.rule)
            if because is not None or phase is Verb.CONTRACT:
                log_line(
                    "warning",
                    breach.message,
                    file=script.label,
                    rule=breach.rule,
                    because=because or "",
                    mend=breach.mend,
                )
                if because is None:
                    yield f"{script.label}: {breach.message} ({breach.rule}); {breach.mend}"
                continue
            raise Refused(
                Reason.PHASE_BREACH,
                f"{script.label}: {phase.value} moved the tool to {targets.of(phase)!r}, and {breach.message} "
                f"({breach.rule})",
                f"{breach.mend}. It is done already: backout moves the tool back to {targets.before!r}, which brings "
                "no dropped rows back. `lint DIR --dsn` finds it beforehand; where it is meant, say there "
                f'"allow": {{"{breach.rule}": "because ..."}}',
                version=script.version.text,
            )

    def _left_open(self, script: Script, phase: Verb) -> "_Begun | None":
        """A move of this phase that began and whose end was never told: the tool may be anywhere on the way."""
        row = self.connection.execute(
            "SELECT event, digests->>%s FROM maestro_conductor.events WHERE version = %s"
            " AND (phase = %s AND event IN ('intent', 'applied') OR phase = 'backout' AND event = 'applied')"
            " ORDER BY seq DESC LIMIT 1",
            (CATALOGUE, script.version.text, phase.value),
        ).fetchone()
        if row is None or row[0] != Event.INTENT.value:
            return None
        return _Begun(unpacked(row[1]) if row[1] else None)

    def _state(self) -> str:
        told = self._run(self.tool.state, None, "", None)
        return self.tool.state_in(told)

    def _run(self, command: tuple[str, ...], phase: Verb | None, target: str, version: str | None) -> str:
        call = Call(self._surroundings(phase, target), self.limits.online_timeout_ms / 1000, self.redact)
        return call.run(command, version, tell=phase is not None)

    def _surroundings(self, phase: Verb | None, target: str) -> Mapping[str, str]:
        """What every client on libpq takes over by itself; others read what they need from the first three."""
        timeouts = (
            f"-c lock_timeout={self.limits.lock_timeout_ms} -c statement_timeout={self.limits.online_timeout_ms}"
            " -c client_connection_check_interval=1000"
        )
        return {
            "DATABASE_URL": self.database_url,
            "MIGRATION_PHASE": phase.value if phase else "state",
            "MIGRATION_TARGET": target,
            "PGAPPNAME": tool_name(self.pen.request.control_plane),
            "PGOPTIONS": timeouts,
        }


@dataclass(frozen=True)
class _Begun:
    """Where the catalogue stood when a move began; None where the runner that began it did not write that down."""

    catalogue: Catalogue | None


@dataclass(frozen=True)
class Call:
    """How the tool's programs are run: `surroundings` on top of our own environment, for `seconds` at most."""

    surroundings: Mapping[str, str]
    seconds: float
    redact: Redactor
    logs: bool = True

    def run(self, command: tuple[str, ...], version: str | None, *, tell: bool) -> str:
        """What it printed. Raise a Stop where it cannot be run, takes too long, or fails."""
        try:
            done = subprocess.run(
                command, env={**os.environ, **self.surroundings}, capture_output=True, text=True, errors="replace",
                timeout=self.seconds, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Refused(
                Reason.TOOL_FAILED,
                f"tool.json: there is no program {command[0]!r} in this image",
                "install it there",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise TryAgain(
                Reason.TOOL_FAILED,
                f"{command[0]} took longer than {self.seconds:.0f} s and was ended",
                "see what it waits for; or raise MIGRATOR_ONLINE_TIMEOUT_MS",
                version=version,
            ) from error
        said = self.redact(f"{done.stdout}\n{done.stderr}".strip())
        if self.logs and (tell or done.returncode):
            for line in said.splitlines():
                log_line("info", "tool", said=line)
        if done.returncode:
            raise Refused(
                Reason.TOOL_FAILED,
                f"{command[0]} ended with {done.returncode}: {' '.join(said[-_KEPT_CHARACTERS:].split())}",
                "the Job's log has all of it; mend the migration, then retry: it is moved to the same target again",
                version=version,
            )
        return done.stdout


def _faults(tool: Tool) -> Iterator[Fault]:
    for command in (tool.state, tool.forward, tool.back):
        yield from command_faults(command)
