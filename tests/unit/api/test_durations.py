"""Durations as users write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor.api.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h0m5s", 3605),
        ("90s", 90),
        ("0s", 0),
        ("8760h", 31_536_000),
    ],
)
def test_what_can_be_written(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "10 m", "m", "1d", "30s10m", "-5s", "1.5h", "5S", "1m\n", None, 30, [], {}]
)
def test_what_cannot(text: object) -> None:
    with pytest.raises(
        ValueError, match="is not a duration; write hours, minutes and seconds like 30s, 10m or 1h30m"
    ):
        parse_duration(text)


@pytest.mark.parametrize("text", ["8761h", "99999999h", "999999999999999h"])
def test_what_is_too_long_to_count_with(text: str) -> None:
    with pytest.raises(ValueError, match="is longer than a year; write at most 8760h"):
        parse_duration(text)


@given(st.integers(0, 31_536_000))
def test_what_is_written_is_read_again(seconds: int) -> None:
    value = timedelta(seconds=seconds)
    assert parse_duration(format_duration(value)) == value
