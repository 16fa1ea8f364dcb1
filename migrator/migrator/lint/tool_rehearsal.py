"""An application's own migration tool, run on a scratch database, with the catalogue compared around each phase."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from migrator.dsn import Dsn, url_of
from migrator.lint.catalogue import read_catalogue
from migrator.lint.changes import JUDGES, Breach, backout_breaches
from migrator.lint.findings import Finding, SqlFile, StatementFailedError
from migrator.request import Verb
from migrator.stops import Stop
from migrator.tool import Call
from migrator.tool_text import Targets, Tool

TARGETS = "targets.json"
_SECONDS = 300.0
_PHASES = (Verb.EXPAND, Verb.MIGRATE, Verb.CONTRACT)


@dataclass(frozen=True)
class ToolRehearsal:
    """Moves the tool on the scratch database that `connection` looks at."""

    connection: Connection[Any]
    scratch: Dsn
    tool: Tool

    def bring(self, file: SqlFile) -> None:
        """Through all phases of a version that nobody works on. Raise StatementFailedError."""
        targets = Targets.parse(file.text)
        self._begin(file, targets)
        for phase in _PHASES:
            self._move(file, phase, targets)

    def rehearse(self, file: SqlFile, migrated: Callable[[], None] | None) -> Iterator[Finding]:
        """There and back, then through every phase; `migrated` is called while both shapes are there. Raise
        StatementFailedError."""
        targets = Targets.parse(file.text)
        self._begin(file, targets)
        before = read_catalogue(self.connection)
        self._move(file, Verb.EXPAND, targets)
        self._move(file, Verb.BACKOUT, targets)
        yield from self._told(
            file, targets, backout_breaches(before, read_catalogue(self.connection)), "backout"
        )
        for phase in _PHASES:
            if phase is Verb.CONTRACT and migrated is not None:
                migrated()
            if targets.of(phase) is None:
                continue
            before = read_catalogue(self.connection)
            self._move(file, phase, targets)
            breaches = JUDGES[phase.value](before, read_catalogue(self.connection))
            yield from self._told(file, targets, breaches, phase.value)

    def _begin(self, file: SqlFile, targets: Targets) -> None:
        if self._state(file) != targets.before:
            self._to(file, Verb.EXPAND, targets.before)

    def _move(self, file: SqlFile, phase: Verb, targets: Targets) -> None:
        target = targets.of(phase)
        if target is not None and self._state(file) != target:
            self._to(file, phase, target)

    def _to(self, file: SqlFile, phase: Verb, target: str) -> None:
        self._run(file, self.tool.command(phase, target), phase.value, target)
        reached = self._state(file)
        if reached != target:
            raise StatementFailedError(
                Finding(
                    file.name,
                    1,
                    "fails",
                    f"the tool was moved to {target!r}, and its state is {reached!r}",
                    "correct the target, the tool's command, or statePattern in tool.json",
                )
            )

    def _state(self, file: SqlFile) -> str:
        return self.tool.state_in(self._run(file, self.tool.state, "state", ""))

    def _run(self, file: SqlFile, command: tuple[str, ...], phase: str, target: str) -> str:
        surroundings = {
            "DATABASE_URL": url_of(self.scratch),
            "MIGRATION_PHASE": phase,
            "MIGRATION_TARGET": target,
        }
        try:
            return Call(surroundings, _SECONDS, self.scratch.redact, logs=False).run(
                command, None, tell=False
            )
        except Stop as stop:
            raise StatementFailedError(Finding(file.name, 1, "fails", stop.message, stop.mend)) from stop

    def _told(
        self, file: SqlFile, targets: Targets, breaches: Iterator[Breach], phase: str
    ) -> Iterator[Finding]:
        for breach in breaches:
            waived = targets.allow.get(breach.rule, "")
            yield Finding(file.name, 1, breach.rule, f"{phase}: {breach.message}", breach.mend, waived=waived)
