"""A promise is kept only where it was seen to be; every way to break one is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from demo.promises import BAD, FIRST, GOOD, SLOW, Evidence, kept_all, promise_lines, promises
from tests.unit.demo.evidence import (
    bad,
    everything_kept,
    good,
    report,
    slow,
    users,
    with_answers,
    with_users,
)

from conductor.cli.style import Style
from harness.load_summary import KEEP_ALIVE, ONE_SHOT

KEPT = everything_kept()
NO_FAILURE = "no request failed"
FOUND = "every acknowledged id was found exactly once"
ALL = f"{GOOD} went through all phases"
REFUSED = f"{BAD} was refused before a user met it"
BACK = f"{SLOW} was rolled back after users met it"
NEW = "new connections left it within 2 s"
OLD = "keep-alive clients left it within 10 s"
SHORT = "its rollback took less than 120 s"
WRITES = "at least 30% of them were writes"


def broken(seen: Evidence) -> dict[str, str]:
    return {promise.says: promise.saw for promise in promises(seen) if not promise.kept}


def test_all_are_kept_where_all_went_well() -> None:
    assert broken(KEPT) == {}
    assert kept_all(promises(KEPT))


def writes(**changes: object) -> Evidence:
    return with_users(KEPT, writes=replace(users().writes, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (with_users(KEPT, failures=1), {NO_FAILURE: "1 of 60,000"}),
        (with_users(KEPT, creates=17_000), {WRITES: "28%"}),
        (writes(missing=2), {FOUND: "20,998 of 21,000"}),
        (writes(duplicates=1), {FOUND: "20,999 of 21,000"}),
        (writes(error="no route", verified=False), {FOUND: "not looked up: no route"}),
        (writes(verified=False), {FOUND: "not looked up: nobody asked"}),
        (writes(acknowledged=0), {FOUND: "0 of 0"}),
        (replace(KEPT, good=replace(good(), outcome="RolledBack", reason="Unhealthy")), {ALL: "RolledBack: Unhealthy"}),
        (replace(KEPT, good=replace(good(), timeline=good().timeline[:-1])), {ALL: "without Contracting"}),
        (with_answers(KEPT, BAD, report(2, 100, 100)), {REFUSED: "Refused, 2 answers"}),
        (replace(KEPT, bad=replace(bad(), outcome="Succeeded")), {REFUSED: "Succeeded, 0 answers"}),
        (replace(KEPT, bad=replace(bad(), switched_at=bad().ended_at)), {REFUSED: "Refused, 0 answers"}),
        (replace(KEPT, serving=SLOW), {BACK: f"RolledBack, {SLOW} serves"}),
        (with_answers(KEPT, SLOW, report(3_000, 162.1, 164)), {NEW: "2.10 s"}),
        (with_answers(KEPT, SLOW, report(3_000, 161, 170.5)), {OLD: "10 s"}),
        (
            with_answers(KEPT, SLOW, None),
            {BACK: "RolledBack, 0 answers", NEW: "no answer", OLD: "no answer"},
        ),
        (
            replace(KEPT, slow=replace(slow(), switched_back_at=slow().ended_at + timedelta(seconds=115))),
            {SHORT: "2m 05s"},
        ),
    ],
)  # fmt: skip
def test_each_broken_promise_says_what_was_seen(seen: Evidence, expected: dict[str, str]) -> None:
    assert broken(seen) == expected
    assert not kept_all(promises(seen))


def test_what_was_not_tried_was_not_kept() -> None:
    seen = with_answers(
        replace(KEPT, good=replace(good(), outcome="Aborted"), bad=None, slow=None), SLOW, None
    )
    found = broken(seen)
    assert found[REFUSED] == found[BACK] == "not tried"
    assert found[SHORT] == "no rollback"
    assert set(found) == {ALL, REFUSED, BACK, SHORT, NEW, OLD}


def test_failed_requests_to_a_version_count_as_meeting_it() -> None:
    only_failures = replace(report(0, 0, 0), failures=3, by_client={})
    assert broken(with_answers(KEPT, BAD, only_failures)) == {REFUSED: "Refused, 3 answers"}


def test_a_rollback_may_come_before_any_kept_connection_moved() -> None:
    met = report(400, 161, 161)
    only_new = replace(met, by_client={ONE_SHOT: met.by_client[ONE_SHOT]})
    seen = with_answers(KEPT, SLOW, only_new)
    assert broken(seen) == {}
    assert "never met it" in {promise.saw for promise in promises(seen)}


def test_lines_are_aligned_and_fit_a_terminal() -> None:
    lines = promise_lines(promises(KEPT), Style())
    assert len(lines) == 9
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("  ✓ ") for line in lines)


def test_evidence_covers_both_kinds_of_client() -> None:
    assert set(KEPT.users.versions[FIRST].by_client) == {KEEP_ALIVE, ONE_SHOT}
