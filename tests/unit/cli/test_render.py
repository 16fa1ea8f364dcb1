"""What a person sees, word for word. `UPDATE_GOLDEN=1` writes the texts anew; read the difference then."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

from conductor.cli.render import change_line, list_lines, release_lines
from conductor.cli.style import Style, clipped, lasting
from conductor.cli.view import read_release

from .conftest import CASES, NOW

GOLDEN = Path(__file__).parent / "golden"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def compare(name: str, lines: list[str]) -> None:
    path = GOLDEN / f"{name}.txt"
    shown = "".join(f"{line}\n" for line in lines)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_a_release_on_one_screen(name: str) -> None:
    compare(name, release_lines(read_release(CASES[name]()), NOW, Style()))


@pytest.mark.parametrize("name", CASES)
def test_colour_adds_nothing_that_the_text_does_not_say(name: str) -> None:
    release = read_release(CASES[name]())
    painted = release_lines(release, NOW, Style(colour=True))
    assert [ESCAPES.sub("", line) for line in painted] == release_lines(release, NOW, Style())


@pytest.mark.parametrize("name", CASES)
def test_nothing_but_ascii_where_the_terminal_knows_no_more(name: str) -> None:
    lines = release_lines(read_release(CASES[name]()), NOW, Style(unicode=False))
    assert "\n".join(lines).isascii()


def test_a_line_for_each_release() -> None:
    compare("list", list_lines([read_release(make()) for make in CASES.values()], Style()))


def test_an_empty_list_says_where_else_to_look() -> None:
    assert list_lines([], Style()) == ["no releases here; `status -A` looks in all namespaces"]


def test_a_line_for_each_change() -> None:
    compare("changes", [change_line(read_release(make()), NOW, Style()) for make in CASES.values()])


def test_a_past_deadline_is_told_as_past() -> None:
    lines = release_lines(read_release(CASES["soaking"]()), NOW + timedelta(minutes=10), Style())
    assert "3m 10s past it" in lines[2]


def test_a_status_of_a_newer_operator_still_shows() -> None:
    item = CASES["soaking"]()
    item["status"]["phase"] = "Rehearsing"
    item["status"]["upgrade"]["deadline"] = "not a time"
    item["status"]["novelty"] = {"a": 1}
    assert any("Rehearsing" in line for line in release_lines(read_release(item), NOW, Style()))


def test_a_release_without_status_is_shown_as_waiting_for_the_operator() -> None:
    item = CASES["stable"]()
    del item["status"]
    lines = release_lines(read_release(item), NOW, Style())
    assert any("the operator, which has not seen this spec yet" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.6, "1m 00s"),
        (3599, "59m 59s"),
        (7265, "2h 01m"),
        (200000, "2d 7h"),
        (-3, "0.0 s"),
    ],
)
def test_lengths_of_time(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_bars_never_round_a_share_away() -> None:
    style = Style()
    assert style.bar("blue", 1, 10).count("█") == 1
    assert style.bar("blue", 99, 10).count("█") == 9
    assert style.bar("green", 0, 10) == "░" * 10
    assert style.bar("green", 100, 10) == "▓" * 10


def test_clipping_counts_what_is_seen() -> None:
    line = Style(colour=True).paint("good", "12345") + "67890"
    assert ESCAPES.sub("", clipped(line, 7)) == "1234567"
    assert clipped(line, 3).endswith("\x1b[0m")
