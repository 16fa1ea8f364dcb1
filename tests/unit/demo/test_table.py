"""The table at the end, word for word, and the record that says the same to machines."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from demo.promises import Evidence, promises
from demo.record import record
from demo.table import report_lines
from tests.unit.demo.evidence import bad, everything_kept, good, with_users

from conductor.cli.style import Style

GOLDEN = Path(__file__).parent / "golden"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
KEPT = everything_kept()
FAILED = with_users(
    replace(KEPT, good=replace(good(), outcome="RolledBack"), bad=None, slow=None),
    failures=12,
    failures_by_kind={"timeout": 10, "reset": 2},
    failure_samples=(
        {
            "at": "2026-03-01T12:00:07.123Z",
            "kind": "timeout",
            "client": "oneshot",
            "method": "POST",
            "version": "",
            "error": "no answer within 10s from the peer that took the request",
        },
    ),
)


@pytest.mark.parametrize(("name", "seen"), [("table_kept", KEPT), ("table_failed", FAILED)])
def test_the_table_in_80_columns(name: str, seen: Evidence) -> None:
    lines = report_lines(seen, Style(width=80))
    path = GOLDEN / f"{name}.txt"
    shown = "".join(f"{line}\n" for line in lines)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert shown == path.read_text()
    assert max(map(len, lines)) <= 80


def test_colour_adds_nothing_that_the_text_does_not_say() -> None:
    painted = report_lines(FAILED, Style(colour=True, width=80))
    assert [ESCAPES.sub("", line) for line in painted] == report_lines(FAILED, Style(width=80))


def test_the_record_for_machines() -> None:
    found = json.loads(json.dumps(record(KEPT, promises(KEPT), {"good": 90.04})))
    assert found["kept"] is True
    assert found["stepSeconds"] == {"good": 90.0}
    assert found["users"]["loop"] == "closed with think time"
    assert found["users"]["acknowledgedIds"] == 21_000
    first, second, third = found["upgrades"]
    assert first["losingVersion"] == "1.0.0"
    assert first["switchMs"] == 47
    assert first["rollbackMs"] is None
    assert first["losingLastAnswerSeconds"] == {"oneshot": 0.353, "keepalive": 4.153}
    assert second["answersToUsers"] == 0
    assert second["losingLastAnswerSeconds"] == {"oneshot": None, "keepalive": None}
    assert third["rollbackMs"] == 65
    assert third["losingLastAnswerSeconds"] == {"oneshot": 1.2, "keepalive": 4.5}


def test_a_record_of_a_broken_run_lists_what_was_tried() -> None:
    found = record(FAILED, promises(FAILED), {})
    assert found["kept"] is False
    assert [upgrade["to"] for upgrade in found["upgrades"]] == ["1.1.0"]


def test_a_refusal_is_no_rollback() -> None:
    assert bad().decided_at is not None
    assert record(KEPT, promises(KEPT), {})["upgrades"][1]["rollbackMs"] is None
