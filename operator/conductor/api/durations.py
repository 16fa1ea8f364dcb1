"""Durations as users write them (`90s`, `10m`, `1h30m`) and as the engine uses them (timedelta)."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_PARTS = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
#: Longer ones are slips of the hand, and the calendar ends: they are added to the time of day.
_LONGEST_SECONDS = 365 * 86_400


def parse_duration(value: object) -> timedelta:
    """Read `1h30m10s`. Raises ValueError with the mend."""
    if isinstance(value, timedelta):
        return value
    match = _PARTS.fullmatch(value) if isinstance(value, str) else None
    if match is None or value == "":
        raise ValueError("is not a duration; write hours, minutes and seconds like 30s, 10m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total > _LONGEST_SECONDS:
        raise ValueError("is longer than a year; write at most 8760h")
    return timedelta(seconds=total)


def format_duration(value: timedelta) -> str:
    """Write a duration the way users write it, to the second."""
    total = int(value.total_seconds())
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    text = (
        (f"{hours}h" if hours else "")
        + (f"{minutes}m" if minutes else "")
        + (f"{seconds}s" if seconds else "")
    )
    return text or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "minLength": 2, "maxLength": 16}),
]
