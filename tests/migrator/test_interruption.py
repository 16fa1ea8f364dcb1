"""Runners that are killed, stopped, cut off or started twice: nothing is done twice, and nothing stays half done."""

import json
import signal
from typing import Any

import pytest
from tests.migrator.conftest import SOME_ROWS
from tests.migrator.plane import Outcome, Plane, RunningRunner

from migrator.fence import Holder, end_backend_of

BATCHES = "SELECT count(*) FROM maestro_conductor.events WHERE event = 'batch'"
BATCHES_OF_ALL_ROWS = 50
RUNNERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'migrator%'"


@pytest.fixture
def backfilling(medium: Plane) -> tuple[Plane, RunningRunner]:
    """A runner in the middle of its backfill."""
    medium.done("expand", "1.0.0", "1.1.0")
    # Long pauses for the one that is disturbed, so that it is not done before that on a busy machine.
    medium.settings |= {"MIGRATOR_PAUSE_MS": "60", "MIGRATOR_PROGRESS_MS": "1"}
    runner = medium.start("migrate", "1.0.0", "1.1.0")
    medium.settings["MIGRATOR_PAUSE_MS"] = "5"
    medium.wait_for(BATCHES, lambda batches: batches >= 4, "four batches")
    return medium, runner


def test_a_killed_backfill_goes_on_where_it_was(backfilling: tuple[Plane, RunningRunner]) -> None:
    plane, runner = backfilling
    plane.wait_for(BATCHES, lambda batches: batches >= 8, "four more batches")
    runner.kill()
    left_behind = json.loads(runner.termination_log.read_text())
    assert (left_behind["verb"], left_behind["state"]) == ("migrate", "running")
    assert 0 < left_behind["rowsDone"] < left_behind["rowsTotal"] == SOME_ROWS
    assert left_behind["secondsLeft"] > 0
    plane.wait_for(RUNNERS, lambda runners: runners == 0, "the backend of the killed runner to end")
    left = plane.done("inspect", "1.0.0", "1.1.0")["divergence"]
    assert 0 < left < SOME_ROWS

    answer = plane.done("migrate", "1.0.0", "1.1.0", attempt="2")

    assert answer["rowsDone"] == answer["rowsTotal"] == SOME_ROWS
    assert every_row_once(plane)


def test_a_container_that_is_stopped_says_so_and_goes_on_later(
    backfilling: tuple[Plane, RunningRunner],
) -> None:
    plane, runner = backfilling
    runner.signal(signal.SIGTERM)
    stopped = runner.outcome()
    assert (stopped.exit_code, stopped.reason) == (2, "Interrupted")
    assert plane.done("migrate", "1.0.0", "1.1.0")["rowsDone"] == SOME_ROWS
    assert every_row_once(plane)


def test_a_backend_that_was_ended_is_worth_another_try(backfilling: tuple[Plane, RunningRunner]) -> None:
    plane, runner = backfilling
    plane.value("SELECT pg_terminate_backend(backend_pid) FROM maestro_conductor.fence")
    lost = runner.outcome()
    assert (lost.exit_code, lost.reason) == (2, "ConnectionLost")
    assert plane.done("migrate", "1.0.0", "1.1.0")["rowsDone"] == SOME_ROWS
    assert every_row_once(plane)


def test_a_new_attempt_ends_a_frozen_one_which_can_write_nothing_when_it_wakes(
    backfilling: tuple[Plane, RunningRunner],
) -> None:
    plane, frozen = backfilling
    frozen.signal(signal.SIGSTOP)
    plane.run("migrate", "1.0.0", "1.1.0", attempt="2")
    token = plane.value("SELECT max(fence) FROM maestro_conductor.events")
    frozen.signal(signal.SIGCONT)
    woken = frozen.outcome()

    assert (woken.exit_code, woken.reason) == (2, "ConnectionLost")
    assert plane.done("inspect", "1.0.0", "1.1.0")["state"] == "migrated"
    assert every_row_once(plane)
    fences = plane.value("SELECT array_agg(fence ORDER BY seq) FROM maestro_conductor.events")
    assert fences == sorted(fences), "after the newer attempt began, the older one wrote nothing"
    assert fences[-1] == token
    late = plane.run("migrate", "1.0.0", "1.1.0", attempt="1")
    assert late.exit_code == 0, "a done verb answers the same, whoever asks"


def test_a_backout_ends_the_backfill_that_still_runs(backfilling: tuple[Plane, RunningRunner]) -> None:
    plane, runner = backfilling
    answer = plane.done("backout", "1.0.0", "1.1.0")
    assert answer["state"] == "backed-out"
    assert runner.outcome().exit_code == 2
    again = plane.run("migrate", "1.0.0", "1.1.0")
    assert (again.exit_code, again.reason) == (1, "OutOfOrder")


def test_two_runners_of_one_attempt_do_the_work_once(medium: Plane) -> None:
    medium.done("expand", "1.0.0", "1.1.0")
    medium.settings["MIGRATOR_LOCK_WAIT_SECONDS"] = "60"
    runners = [medium.start("migrate", "1.0.0", "1.1.0") for _ in range(2)]
    first, second = (runner.outcome() for runner in runners)

    assert first.exit_code == second.exit_code == 0
    # Whoever comes second takes the fence too, and finds nothing left to do.
    assert without_message(first, "ledgerLine") == without_message(second, "ledgerLine")
    assert every_row_once(medium)


def test_a_runner_that_raised_the_fence_since_it_was_judged_is_not_ended(
    backfilling: tuple[Plane, RunningRunner],
) -> None:
    """What a second runner of the same attempt reads just before the first one has raised the fence."""
    plane, runner = backfilling
    token, attempt = (
        plane.value(f"SELECT {column} FROM maestro_conductor.fence") for column in ("token", "attempt")
    )
    before = Holder("mc", token - 1, "u1", "expand", attempt)
    with plane.connection() as second:
        end_backend_of(second, before)
    plane.wait_for(BATCHES, lambda batches: batches >= 8, "four more batches")
    assert runner.outcome().exit_code == 0


def test_a_second_runner_that_may_not_wait_longer_is_worth_another_try(
    backfilling: tuple[Plane, RunningRunner],
) -> None:
    plane, runner = backfilling
    plane.settings["MIGRATOR_LOCK_WAIT_SECONDS"] = "1"
    runner.signal(signal.SIGSTOP)
    second = plane.run("migrate", "1.0.0", "1.1.0")
    runner.signal(signal.SIGCONT)
    assert (second.exit_code, second.reason) == (2, "RunnerBusy")
    assert "--attempt" in second.answer["mend"]
    assert runner.outcome().exit_code == 0


def test_expand_gives_way_to_users_and_comes_back(small: Plane) -> None:
    small.settings = {"MIGRATOR_LOCK_TIMEOUT_MS": "100", "MIGRATOR_BACKOFF_MS": "50"}
    with small.connection() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM executions")
        runner = small.start("expand", "1.0.0", "1.1.0")
        small.wait_for(
            "SELECT count(*) FROM pg_locks WHERE relation = 'executions'::regclass AND NOT granted",
            lambda waiting: waiting == 1,
            "expand to ask for its lock",
        )
        with small.connection() as user:
            # Behind a request for an exclusive lock, which gives up soon.
            user.execute("SET statement_timeout = '2s'")
            user.execute("SELECT count(*) FROM executions")
    assert runner.outcome().answer["state"] == "expanded"


def test_expand_that_never_gets_its_lock_leaves_everything_as_it_was(small: Plane) -> None:
    blue = small.schema()
    small.settings = {"MIGRATOR_LOCK_TIMEOUT_MS": "50", "MIGRATOR_BACKOFF_MS": "10", "MIGRATOR_TRIES": "3"}
    with small.connection() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM executions")
        refused = small.run("expand", "1.0.0", "1.1.0")
    assert (refused.exit_code, refused.reason) == (2, "LockNotGranted")
    assert "pg_stat_activity" in refused.answer["mend"]
    assert small.schema() == blue
    assert small.done("inspect", "1.0.0", "1.1.0")["state"] == "none"
    small.settings = {}
    assert small.done("expand", "1.0.0", "1.1.0", attempt="2")["state"] == "expanded"


def every_row_once(plane: Plane) -> bool:
    """Each batch follows the one before it, none was done again, and together they are all rows."""
    with plane.connection() as connection:
        batches: list[tuple[Any, ...]] = connection.execute(
            "SELECT cursor, rows_done FROM maestro_conductor.events WHERE event = 'batch' ORDER BY seq"
        ).fetchall()
    cursors = [cursor for cursor, _ in batches]
    assert cursors == sorted(set(cursors))
    assert [rows for _, rows in batches] == [batches[0][1] * number for number in range(1, len(batches) + 1)]
    assert plane.done("inspect", "1.0.0", "1.1.0")["divergence"] == 0
    return len(batches) == BATCHES_OF_ALL_ROWS


def without_message(outcome: Outcome, *more: str) -> dict[str, Any]:
    return {key: value for key, value in outcome.answer.items() if key not in ("message", *more)}
