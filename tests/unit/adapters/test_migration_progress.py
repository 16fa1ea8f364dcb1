"""What is taken from the answer of a migrate Job's pod: numbers of that very attempt, or nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.adapters.servers import ToThisMachine, says, server

from conductor.adapters.migration_progress import ask_progress
from conductor.adapters.outbound import Outbound
from conductor.domain.sampling import ProgressQuestion
from conductor.domain.snapshot import ProgressSample

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOLD: dict[str, Any] = {
    "verb": "migrate",
    "upgrade": "u1",
    "attempt": 2,
    "rowsDone": 500,
    "rowsTotal": 2_000,
    "rowsPerSecond": 100,
    "secondsLeft": 15,
}


def asked(body: str) -> ProgressSample | None:
    with server(says(body)) as pod:
        return ask_progress(ToThisMachine(), question(pod.port), lambda: NOW)


def question(port: int) -> ProgressQuestion:
    return ProgressQuestion("mc-u1-migrate-2", "127.0.0.1", "u1", 2, port)


def test_how_far_it_is() -> None:
    assert asked(json.dumps(TOLD)) == ProgressSample("mc-u1-migrate-2", NOW, 500, 2_000, 100, 15)


def test_an_estimate_that_was_passed_is_no_less_than_what_is_done() -> None:
    found = asked(json.dumps(TOLD | {"rowsTotal": 400, "secondsLeft": None}))
    assert found is not None
    assert (found.rows_total, found.seconds_left) == (500, None)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(TOLD | {"attempt": 1}),
        json.dumps(TOLD | {"upgrade": "u0"}),
        json.dumps(TOLD | {"rowsDone": -1}),
        json.dumps(TOLD | {"rowsDone": 2**60}),
        json.dumps(TOLD | {"rowsDone": "secret"}),
        json.dumps(TOLD | {"rowsTotal": True}),
        json.dumps({"upgrade": "u1", "attempt": 2}),
        "[" * 60_000,
        "{" + " " * 5_000 + "}",
        "null",
        "<html>",
    ],
)
def test_what_is_no_progress_of_this_attempt_is_nothing(body: str) -> None:
    assert asked(body) is None


def test_nobody_who_answers_is_nothing_and_loopback_is_never_asked() -> None:
    assert ask_progress(ToThisMachine(), question(1), lambda: NOW) is None
    with server(says(json.dumps(TOLD))) as pod:
        assert ask_progress(Outbound(), question(pod.port), lambda: NOW) is None
    assert pod.requests == []
