"""How far a backfill has come, asked of the pod of its Job. The image is a user's: only numbers are taken from it."""

import json
from collections.abc import Callable
from datetime import datetime
from http.client import HTTPException
from typing import Any

from conductor.adapters.outbound import Bounds, Outbound
from conductor.domain.sampling import ProgressQuestion
from conductor.domain.snapshot import ProgressSample

_BOUNDS = Bounds(seconds=1.0, body_bytes=2_048)
_MOST = 2**53
#: Longer than any deadline; a moment further away could not be written.
_MOST_SECONDS = 10 * 365 * 86_400


def ask_progress(
    outbound: Outbound, question: ProgressQuestion, now: Callable[[], datetime]
) -> ProgressSample | None:
    """None where there is no answer, or none about this attempt: nothing hangs on it."""
    try:
        answer = outbound.exchange(
            "GET", "/progress", host=question.address, port=question.port, bounds=_BOUNDS
        )
        told = json.loads(answer.body)
    except (OSError, HTTPException, ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or (told.get("upgrade"), told.get("attempt")) != (
        question.upgrade,
        question.attempt,
    ):
        return None
    done, total = _number(told, "rowsDone", _MOST), _number(told, "rowsTotal", _MOST)
    if done is None or total is None:
        return None
    return ProgressSample(
        job=question.job,
        at=now(),
        rows_done=done,
        rows_total=max(done, total),
        rows_per_second=_number(told, "rowsPerSecond", _MOST),
        seconds_left=_number(told, "secondsLeft", _MOST_SECONDS),
    )


def _number(told: dict[str, Any], key: str, most: int) -> int | None:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        return None
    return value
