"""A verb from the first look at the ledger to its answer."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection

from migrator.answer import Answer, State, log_line
from migrator.barrier import Replicas
from migrator.dsn import Redactor
from migrator.fence import check_owner, hold_fence, take_fence
from migrator.ledger import (
    Pen,
    Record,
    Records,
    check_digests,
    check_not_behind,
    check_nothing_lost,
    last_line,
    owner_of,
    read_records,
    schema_range,
)
from migrator.ledger_schema import bring_up_to_date
from migrator.lines import Event
from migrator.lint.gate import refuse_unfit
from migrator.logins import Fence, candidates_login, forecast, open_login
from migrator.origin import failed_over, last_origin, moved, origin_of
from migrator.permits import check_permit
from migrator.phases import Phases, divergence
from migrator.plan import Step, plan
from migrator.point import last_point, note_point
from migrator.progress_port import Board, shown
from migrator.request import Request, Verb
from migrator.scripts import Library, digest_of, in_range
from migrator.semver import Version
from migrator.settings import Settings
from migrator.star_readers import refuse_star_readers
from migrator.stops import Reason, Refused, Stop
from migrator.tool import Move
from migrator.tool_text import Tool

_REACHED = {
    Verb.EXPAND: State.EXPANDED,
    Verb.MIGRATE: State.MIGRATED,
    Verb.CONTRACT: State.CONTRACTED,
    Verb.BACKOUT: State.BACKED_OUT,
}
_PROGRESS = (State.BACKED_OUT, State.NONE, State.EXPANDED, State.MIGRATED, State.CONTRACTED)


@dataclass(frozen=True)
class Run:
    """One run over an open connection."""

    connection: Connection[Any]
    request: Request
    settings: Settings
    library: Library
    replicas: Replicas
    tool: Tool | None
    redact: Redactor

    @property
    def versions(self) -> list[Version]:
        return in_range(self.library, self.request)

    def carry_out(self) -> Answer:
        check_owner(owner_of(self.connection), self.request, self.settings.adopt_from)
        records = read_records(self.connection)
        if self.request.verb in (Verb.INSPECT, Verb.BARRIER):
            if self.request.verb is Verb.BARRIER:
                self.replicas.wait(self.connection)
            return self._inspect(records)
        if not self.versions:
            self._check(records)
            self._open_login()
            return self._answer(records, State.NOT_APPLICABLE, f"no version {self._range()} brings any SQL")
        steps = self._steps(records)
        if not steps:
            self._open_login()
            self._wait_for_replicas()
            return self._done(records, "nothing to do, the ledger shows it done")
        self._lint(steps)
        if self.request.verb is not Verb.BACKOUT:
            # Before anything else is asked of a replica: what is read on a foreign one is nobody's hindrance.
            self.replicas.refuse_wrong(self.connection)
        self._look_for_star_readers(steps)
        check_permit(self.connection, self.request)
        self._check_logins()
        if self.request.verb is Verb.CONTRACT:
            # What is taken away next must not be what a reader of a replica still needs.
            self.replicas.wait(self.connection)
        bring_up_to_date(self.connection)
        pen = self._begin()
        # Another runner may have done it all while this one waited for the lock.
        steps = self._steps(read_records(self.connection))
        board = Board.of(self.request)
        phases = self._phases(pen, board)
        self._open_login(pen)
        if steps and self.request.verb is Verb.CONTRACT:
            self._cut_off(phases, steps)
        with shown(board, self.settings.progress_port if self.request.verb is Verb.MIGRATE else 0):
            for step in steps:
                self._step(phases, step)
        self._wait_for_replicas()
        done = ", ".join(f"{step.record.version} {_REACHED[step.phase].value}" for step in steps)
        said = "; but ".join((done or "nothing to do, another runner did it", *phases.told))
        return self._done(read_records(self.connection), said)

    def _check_logins(self) -> None:
        """What is wrong with the roles is said before anything is touched."""
        logins = self.request.logins
        if logins is None:
            return
        if self.request.verb is Verb.EXPAND:
            candidates_login(self.connection, logins)
        elif self.request.verb is Verb.CONTRACT:
            Fence(self.connection, logins, self.settings.limits).check(self.replicas.each())

    def _open_login(self, pen: Pen | None = None) -> None:
        """What an earlier upgrade's contract step fenced, this upgrade's candidate logs in with."""
        if self.request.verb is not Verb.EXPAND or self.request.logins is None:
            return
        role = candidates_login(self.connection, self.request.logins)
        if role.can_login:
            return
        if pen is None:
            bring_up_to_date(self.connection)
            pen = self._begin()
        open_login(self.connection, pen, role)

    def _cut_off(self, phases: Phases, steps: list[Step]) -> None:
        """Nothing of the old version is left, or, where the release names no roles, that is a person's word; and the
        moment is noted before what cannot be taken back."""
        logins, limits = self.request.logins, self.settings.limits
        try:
            for step in steps:
                phases.refuse_divergence(step.record)
            if logins is not None:
                fence = Fence(self.connection, logins, limits)
                fence.close(phases.pen)
                # A replica's sessions prove something only once it has replayed the fence.
                self.replicas.wait(self.connection)
                fence.prove(self.replicas.each())
            note_point(self.connection, phases.pen, limits, proven=logins is not None)
        except Stop as stop:
            self._tell_failure(phases.pen, steps[0], stop)
            raise

    def _phases(self, pen: Pen, board: Board) -> Phases:
        settings = self.settings
        move = None
        if self.tool is not None:
            url, redact = settings.database_url, self.redact
            move = Move(self.connection, pen, settings.limits, self.tool, url, redact)
        return Phases(
            self.connection,
            pen,
            self.library,
            settings.limits,
            self.replicas,
            settings.termination_log,
            board,
            move,
        )

    def _begin(self) -> Pen:
        """Take the fence; stop once where another server keeps the ledger than the last attempt found."""
        before = last_origin(self.connection)
        pen = take_fence(self.connection, self.request, self.settings)
        if self.request.verb is Verb.BACKOUT or before is None or not moved(before, pen.origin):
            return pen
        stop = failed_over(before, pen.origin)
        with self.connection.transaction():
            hold_fence(self.connection, pen)
            pen.append(self.connection, self.request.verb, Event.FAILED_OVER, message=stop.message)
        raise stop

    def _wait_for_replicas(self) -> None:
        """Expand and migrate are done when the replicas have them too; a backout waits for nobody."""
        if self.request.verb in (Verb.EXPAND, Verb.MIGRATE):
            self.replicas.wait(self.connection)

    def _steps(self, records: Records) -> list[Step]:
        self._check(records)
        return plan(self.request, self.versions, records, lambda record: bool(self._divergence([record])))

    def _lint(self, steps: list[Step]) -> None:
        """Only what is about to run. A bootstrap has no users, and a way back is never refused for its manners."""
        if self.request.bootstrap or self.request.verb is Verb.BACKOUT:
            return
        for step in steps:
            names = (
                ("migrate.sql", "online.sql") if step.phase is Verb.MIGRATE else (f"{step.phase.value}.sql",)
            )
            scripts = self.library.get(step.record.version, {})
            for name in names:
                if name in scripts:
                    refuse_unfit(scripts[name])

    def _look_for_star_readers(self, steps: list[Step]) -> None:
        if self.request.bootstrap or self.request.verb is Verb.BACKOUT:
            return
        for step in steps:
            script = self.library.get(step.record.version, {}).get(f"{step.phase.value}.sql")
            if script is not None and step.phase is not Verb.MIGRATE:
                endpoints = [("the primary", self.connection), *self.replicas.opened()]
                refuse_star_readers(script, endpoints, self.settings.star_readers)

    def _check(self, records: Records) -> None:
        check_not_behind(records, self.request)
        if self.request.verb is not Verb.BACKOUT:
            check_nothing_lost(self.connection, self.request)
            check_digests(self.library, records, self.request)

    def _step(self, phases: Phases, step: Step) -> None:
        log_line(
            "info", f"{step.phase.value} begins", version=step.record.version.text, fence=phases.pen.token
        )
        try:
            match step.phase:
                case Verb.EXPAND:
                    phases.expand(step.record)
                case Verb.MIGRATE:
                    phases.migrate(step.record)
                case Verb.CONTRACT:
                    phases.contract(step.record)
                case _:
                    phases.backout(step.record, accept_loss=self.request.accept_loss)
        except Stop as stop:
            self._tell_failure(phases.pen, step, stop)
            raise

    def _tell_failure(self, pen: Pen, step: Step, stop: Stop) -> None:
        if stop.reason is Reason.SUPERSEDED or self.connection.broken or self.connection.closed:
            return
        try:
            with self.connection.transaction():
                hold_fence(self.connection, pen)
                pen.append(
                    self.connection,
                    step.phase,
                    Event.FAILED,
                    version=step.record.version,
                    divergence=stop.divergence,
                    message=f"{stop.reason.value}: {stop.message}",
                )
        except (psycopg.Error, Refused) as error:
            # The answer tells the failure itself; the ledger's line about it is only for readers.
            log_line("warning", "failure not written to the ledger", cause=type(error).__name__)

    def _inspect(self, records: Records) -> Answer:
        known = tuple((version.text, record.state) for version, record in sorted(records.items()))
        covered = [records.get(version, Record(version)) for version in self.versions]
        if not covered:
            return self._answer(
                records, State.NOT_APPLICABLE, f"no version {self._range()} brings any SQL", known
            )
        state = min((record.state for record in covered), key=_PROGRESS.index)
        try:
            self._check(records)
        except Refused as refused:
            # To look is never refused: what an upgrade would be refused for stands beside the state.
            return self._answer(records, state, refused.message, known, refused)
        told = ", ".join(f"{record.version} {record.state.value}" for record in covered)
        return self._answer(records, state, told, known)

    def _done(self, records: Records, message: str) -> Answer:
        if self.request.verb is Verb.EXPAND and self.request.logins is not None:
            foreseen = forecast(self.connection, self.request.logins)
            message += f" ({foreseen})" if foreseen else ""
        return self._answer(records, _REACHED[self.request.verb], message)

    def _answer(
        self,
        records: Records,
        state: State,
        message: str,
        known: tuple[tuple[str, State], ...] = (),
        refused: Refused | None = None,
    ) -> Answer:
        covered = [records[version] for version in self.versions if version in records]
        rows_done = sum(record.rows_done for record in covered)
        left = None
        if self.request.verb in (Verb.INSPECT, Verb.BARRIER, Verb.MIGRATE, Verb.CONTRACT):
            left = self._divergence(covered)
        return Answer(
            verb=self.request.verb.value,
            state=state,
            version=self.versions[-1].text if self.versions else self.request.target.text,
            digest=digest_of(self.library, self.versions) if self.versions else "",
            divergence=left,
            rows_done=rows_done,
            rows_total=rows_done + (left or 0),
            message=message,
            mend=refused.mend if refused else "",
            reason=refused.reason if refused else None,
            contract_pending=self._contract_pending(records),
            expanded_kept=self._expanded_kept(records),
            versions=known,
            ledger_line=last_line(self.connection),
            origin=origin_of(self.connection),
            replicas=tuple(told.content() for told in self.replicas.tell(self.connection)),
            schema=schema_range(records),
            contracted_after=last_point(self.connection, self.request.upgrade)
            if state is State.CONTRACTED
            else None,
        )

    def _divergence(self, records: list[Record]) -> int | None:
        """Asked anew each time while both shapes are there; a contracted version has only one."""
        total: int | None = None
        for record in records:
            left = None
            if record.state in (State.EXPANDED, State.MIGRATED):
                left = divergence(self.connection, self.settings.limits, self.library, record)
            elif record.state is State.CONTRACTED and "divergence.sql" in record.digests:
                left = 0
            total = left if total is None else total + (left or 0)
        return total

    def _contract_pending(self, records: Records) -> tuple[str, ...]:
        return tuple(
            version.text
            for version, record in sorted(records.items())
            if record.state is State.MIGRATED
            and version <= self.request.target
            and (self.request.bootstrap or not self.request.covers(version))
            and (version not in self.library or "contract.sql" in self.library[version])
        )

    def _expanded_kept(self, records: Records) -> tuple[str, ...]:
        return tuple(
            version.text
            for version, record in sorted(records.items())
            if not self.request.covers(version)
            and (
                record.state is State.EXPANDED
                or (record.state is State.MIGRATED and version > self.request.target)
            )
        )

    def _range(self) -> str:
        after = f"after {self.request.source} and " if self.request.source else ""
        return f"{after}up to {self.request.target}"
