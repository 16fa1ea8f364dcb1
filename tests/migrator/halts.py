"""Holds a runner still at a line of its ledger, so that it can be killed exactly there."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
import pytest
from tests.migrator.plane import Plane

from migrator.lines import Event
from migrator.request import Verb
from migrator.run import main

#: Where in the transaction: the work is done and its line is not, or the line is there and nothing is committed.
PLACES = ("line", "commit")
#: What ends: the runner's process, its backend, or the whole database server, which then recovers from its log.
ENDS = ("runner", "backend", "database")

_PATIENCE_SECONDS = 30.0
_ASLEEP = (
    "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE application_name LIKE 'migrator%'"
    " AND wait_event = 'PgSleep' AND datname = current_database()"
)
_HALT = """
CREATE SCHEMA halt;
CREATE TABLE halt.at (phase text, event text, nth integer, place text);
CREATE FUNCTION halt.here() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE NEW.attempt = 1 AND EXISTS (
        SELECT FROM halt.at
        WHERE phase = NEW.phase AND event = NEW.event AND place = TG_ARGV[0]
          AND nth = (SELECT count(*) FROM maestro_conductor.events AS e WHERE e.upgrade = NEW.upgrade
                     AND e.phase = NEW.phase AND e.event = NEW.event AND e.seq <> NEW.seq) + 1
    ) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER halt_line BEFORE INSERT ON maestro_conductor.events
    FOR EACH ROW EXECUTE FUNCTION halt.here('line');
CREATE CONSTRAINT TRIGGER halt_commit AFTER INSERT ON maestro_conductor.events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION halt.here('commit');
"""


@dataclass(frozen=True)
class Halt:
    """The nth line of a kind that the first attempt of an upgrade writes."""

    phase: Verb
    event: Event
    nth: int
    place: str


def install(plane: Plane) -> None:
    """Once for a database; its copies have it too."""
    plane.execute(_HALT)


def kill_at(plane: Plane, halt: Halt, end: str, arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run the runner up to there and end it; returns its exit code, or 128 + the signal that ended it."""
    plane.execute(
        f"INSERT INTO halt.at VALUES ('{halt.phase.value}', '{halt.event.value}', {halt.nth}, '{halt.place}')"
    )
    with _forked(arguments, environment) as runner:
        backend = plane.wait_for(_ASLEEP, lambda pid: pid > 0, f"the runner to come to {halt}")
        if end == "runner":
            os.kill(runner, signal.SIGKILL)
        elif end == "backend":
            plane.value(f"SELECT pg_terminate_backend({backend})")
        else:
            os.kill(backend, signal.SIGKILL)
        return os.waitstatus_to_exitcode(_ended(runner))


def until_it_answers(plane: Plane) -> None:
    """A server that lost a backend without a word ends all others and recovers from its log first."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            plane.value("SELECT 1")
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        else:
            return


@contextmanager
def _forked(arguments: list[str], environment: Mapping[str, str]) -> Iterator[int]:
    """The runner in a process of its own, without the cost of a new interpreter."""
    runner = os.fork()
    if runner == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        code = 70
        try:
            code = main(arguments, environment)
        finally:
            os._exit(code)
    try:
        yield runner
    finally:
        _reap(runner)


def _reap(runner: int) -> None:
    """It may have been waited for already; its id is not used again before that."""
    with suppress(ProcessLookupError, ChildProcessError):
        if os.waitpid(runner, os.WNOHANG) == (0, 0):
            os.kill(runner, signal.SIGKILL)
            os.waitpid(runner, 0)


def _ended(runner: int) -> int:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(runner, os.WNOHANG)
        if pid:
            return status
        signal.sigtimedwait([], 0.01)
    pytest.fail("the runner did not end")
