"""The picture of an upgrade under load, word for word, and the lines that stand for it in a log."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from demo.screen import answer_bar, failure_words, mark_of, outcome_words, shares, upgrade_lines, users_line
from tests.unit.cli.conftest import CASES, NOW

from conductor.cli.style import Style
from conductor.cli.view import read_release
from harness.load_summary import Progress

GOLDEN = Path(__file__).parent / "golden"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def users(failures: int = 0, **versions: int) -> Progress:
    named = {name.replace("_", "."): count for name, count in versions.items()}
    return Progress(
        at=NOW,
        elapsed_seconds=41.0,
        requests=12_345,
        failures=failures,
        second_requests=301,
        second_failures=failures,
        second_p95_ms=12.3,
        second_versions=named,
    )


BOTH = {"1.0.0": 126, "1.1.0": 174}


def met(versions: dict[str, int], failures: int = 0) -> Progress:
    return users(failures, **{name.replace(".", "_"): count for name, count in versions.items()})


PICTURES = {
    "screen_soaking": ("soaking", met(BOTH)),
    "screen_ramping": ("ramping", met({"1.0.0": 299, "1.1.0": 1}, failures=3)),
    "screen_unseen": ("unseen", met({})),
    "screen_stable": ("stable", None),
}


@pytest.mark.parametrize("name", PICTURES)
def test_an_upgrade_on_one_screen(name: str) -> None:
    case, progress = PICTURES[name]
    lines = upgrade_lines(read_release(CASES[case]()), progress, NOW, Style(width=80))
    path = GOLDEN / f"{name}.txt"
    shown = "".join(f"{line}\n" for line in lines)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert shown == path.read_text()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", PICTURES)
def test_colour_adds_nothing_that_the_text_does_not_say(name: str) -> None:
    case, progress = PICTURES[name]
    release = read_release(CASES[case]())
    painted = upgrade_lines(release, progress, NOW, Style(colour=True, width=80))
    assert [ESCAPES.sub("", line).rstrip() for line in painted] == upgrade_lines(
        release, progress, NOW, Style(width=80)
    )


@pytest.mark.parametrize(
    ("versions", "blue"),
    [
        ({"1.0.0": 300}, 24),
        ({"1.1.0": 300}, 0),
        ({"1.0.0": 1, "1.1.0": 999}, 1),
        ({"1.0.0": 999, "1.1.0": 1}, 23),
    ],
)
def test_the_answer_bar_never_hides_the_last_few(versions: dict[str, int], blue: int) -> None:
    bar = answer_bar(read_release(CASES["soaking"]()), versions, Style())
    assert bar == "█" * blue + "▓" * (24 - blue)


def test_answers_of_a_version_that_is_in_no_slot_leave_the_bar_empty() -> None:
    assert answer_bar(read_release(CASES["soaking"]()), {"9.9.9": 3}, Style()) == "░" * 24


def test_shares_never_round_the_last_few_away() -> None:
    assert shares(met({"1.0.0": 1, "1.1.0": 999})) == "1.0.0 1 %, 1.1.0 99 %"
    assert shares(met({"1.1.0": 300})) == "1.1.0 100 %"


def test_users_in_one_line_for_a_log() -> None:
    assert users_line(met(BOTH), NOW) == (
        "12:00:00 users: 12,345 requests, 0 failed, 301/s, p95 12 ms; 1.0.0 42 %, 1.1.0 58 %"
    )


def test_what_is_taken_back_says_why_instead_of_the_last_verdict() -> None:
    item = CASES["soaking"]()
    assert failure_words(item) == ""
    item["status"]["upgrade"]["failure"] = {
        "reason": "Unhealthy",
        "message": "p95 is 962 ms, the limit is 900 ms",
    }
    because = failure_words(item)
    lines = upgrade_lines(read_release(item), met(BOTH), NOW, Style(width=80), because=because)
    assert lines[-1] == "    Because    ↩ Unhealthy: p95 is 962 ms, the limit is 900 ms"
    assert not any(line.startswith("    Health") for line in lines)


def test_a_reason_with_a_long_url_stays_within_the_screen() -> None:
    because = "Unhealthy: 12 of 325 requests failed, the last with GET /executions?" + "query%20" * 60
    lines = upgrade_lines(read_release(CASES["soaking"]()), None, NOW, Style(width=80), because=because)
    assert max(map(len, lines)) <= 80
    assert lines[-4].startswith("    Because    ↩ Unhealthy: 12 of 325")
    assert all(line.startswith(" " * 17) for line in lines[-3:])


def test_a_refusal_is_good_where_it_was_meant() -> None:
    last = read_release(CASES["rolled_back"]()).last
    assert last is not None
    assert outcome_words(last) == "RolledBack (Unhealthy)"
    assert mark_of(("RolledBack",), last) == "good"
    assert mark_of(("Succeeded",), last) == "bad"
