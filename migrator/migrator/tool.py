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
from migrator.request import Verb
from migrator.scripts import Script
from migrator.settings import Limits
from migrator.sqltext import Fault
from migrator.stops import Reason, Refused, TryAgain
from migrator.tool_text import Targets, Tool, command_faults

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

    def to(self, phase: Verb, script: Script, targets: Targets) -> None:
        """Raise Refused where the tool fails, or says afterwards that it is elsewhere."""
        target, before = targets.of(phase), targets.before_of(phase)
        if target is None:
            return
        found = self._state()
        if found == target:
            return
        if found not in before and not self._left_open(script, phase):
            raise Refused(
                Reason.STATE_UNEXPECTED,
                f"{script.label}: the tool's state is {found!r}, and {phase.value} begins at "
                f"{' or '.join(map(repr, before))}",
                "bring the database and targets.json together: somebody moved the one, or the other names a wrong "
                "target",
                version=script.version.text,
            )
        with self.connection.transaction():
            hold_fence(self.connection, self.pen)
            self.pen.append(self.connection, phase, Event.INTENT, version=script.version, about=target)
        self._run(self.tool.command(phase, target), phase, target, script.version.text)
        reached = self._state()
        if reached != target:
            raise Refused(
                Reason.STATE_UNEXPECTED,
                f"{script.label}: the tool ended with 0, and its state is {reached!r} instead of {target!r}",
                "see the log above; correct the target or the tool's command, then retry",
                version=script.version.text,
            )

    def _left_open(self, script: Script, phase: Verb) -> bool:
        """Whether a move of this phase began and its end was never told: the tool may be anywhere on the way."""
        row = self.connection.execute(
            "SELECT event = 'intent' FROM maestro_conductor.events WHERE version = %s AND phase = %s"
            " AND event IN ('intent', 'applied') ORDER BY seq DESC LIMIT 1",
            (script.version.text, phase.value),
        ).fetchone()
        return bool(row and row[0])

    def _state(self) -> str:
        told = self._run(self.tool.state, None, "", None)
        return self.tool.state_in(told)

    def _run(self, command: tuple[str, ...], phase: Verb | None, target: str, version: str | None) -> str:
        environment = {**os.environ, **self._surroundings(phase, target)}
        seconds = self.limits.online_timeout_ms / 1000
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, errors="replace", timeout=seconds,
                stdin=subprocess.DEVNULL, check=False,
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
                f"{command[0]} took longer than {seconds:.0f} s and was ended",
                "see what it waits for; or raise MIGRATOR_ONLINE_TIMEOUT_MS",
                version=version,
            ) from error
        said = self.redact(f"{done.stdout}\n{done.stderr}".strip())
        if phase is not None or done.returncode:
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


def _faults(tool: Tool) -> Iterator[Fault]:
    for command in (tool.state, tool.forward, tool.back):
        yield from command_faults(command)
