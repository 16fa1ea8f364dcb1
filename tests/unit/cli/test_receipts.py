"""What `receipts` shows and proves. `UPDATE_GOLDEN=1` writes the texts anew; read the difference then."""

from __future__ import annotations

import copy
import io
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conductor.adapters.release_access import MissingReleaseError
from conductor.api.receipts import BEGINNING, key_of, seal, segment_labels, segment_name
from conductor.cli import VERBS, make_parser
from conductor.cli.options import FAILED, OK, CommandError, Terminal
from conductor.cli.style import Style

from .conftest import Json, StoredReleases, soaking, written

GOLDEN = Path(__file__).parent / "golden"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UID = "6c1e0d5a-1111-2222-3333-444455556666"
FIRST = {"upgrade": "u1-aaaaaaaaaa", "toVersion": "1.0.0"}
SECOND = {"upgrade": "u2-bbbbbbbbbb", "fromVersion": "1.0.0", "toVersion": "1.1.0"}
QUOTA = (
    'deployments.apps "mc-api-green-bbbbbbbbbb" is forbidden: exceeded quota: compute, requested: pods=3, used: '
    "pods=9, limited: pods=10"
)
TOLD: list[Json] = [
    {"kind": "opened", "message": "the chain begins here: nothing serves yet"},
    {"kind": "intent", "effect": "CreateObject", "subject": "ControllerRevision/mc-aaaaaaaaaa"},
    {"kind": "outcome", "intent": 2, "result": "Done"},
    {"kind": "phase", "phase": "Bootstrapping", "message": "installing 1.0.0", **FIRST},
    {"kind": "phase", "phase": "Stable", "result": "Succeeded", "message": "1.0.0 serves", **FIRST},
    {"kind": "folded", "count": 12, "message": "no room was left for receipts while they could not be kept"},
    {"kind": "phase", "phase": "BringingUp", "message": "preflight passed", **SECOND},
    {"kind": "intent", "effect": "ApplyObject", "subject": "Deployment/mc-api-green-bbbbbbbbbb", **SECOND},
    {"kind": "outcome", "intent": 8, "result": "Failed", "reason": "Forbidden", "message": QUOTA, **SECOND},
    {"kind": "intent", "effect": "SwitchServices", "subject": "Service/mc-api=bbbbbbbbbb", **SECOND},
    {"kind": "outcome", "intent": 10, "result": "Unknown", **SECOND},
    {"kind": "phase", "phase": "RollingBack", "message": "p95 is 1,430 ms, the limit is 900 ms", **SECOND},
    {"kind": "intent", "effect": "DeletePods", "subject": "mc-api-green-bbbbbbbbbb-12345," * 6, **SECOND},
    {"kind": "outcome", "intent": 13, "result": "Done", **SECOND},
    {"kind": "phase", "phase": "Stable", "result": "RolledBack", "message": "p95 is 1,430 ms", **SECOND},
    {"kind": "intent", "effect": "CreateObject", "subject": "ControllerRevision/mc-cccccccccc"},
]


def lines(told: list[Json] = TOLD, uid: str = UID) -> list[str]:
    made, head = [], BEGINNING
    for sequence, content in enumerate(told, start=1):
        at = f"2026-03-01T11:{40 + sequence}:00.123Z"
        common = {"schema": 1, "uid": uid, "name": "mc", "namespace": "prod", "at": at}
        line, head = seal({**common, **content, "sequence": sequence, "previous": head.hash})
        made.append(line)
    return made


def segment(stored: list[str], uid: str = UID, **data: str) -> Json:
    metadata = {
        "name": segment_name("mc", uid, 0),
        "labels": segment_labels("mc", uid),
        "creationTimestamp": "2026-03-01T11:41:00Z",
    }
    return {
        "metadata": metadata,
        "data": {key_of(number): line for number, line in enumerate(stored, 1)} | data,
    }


def release(outbox: int = 0, whole: list[str] | None = None) -> Json:
    """The release as it stands, with so many receipts in its outbox."""
    item = soaking()
    item["metadata"]["uid"] = UID
    told = whole or lines()
    head = {"sequence": len(told), "hash": json.loads(told[-1])["hash"]}
    item["status"]["receipts"] = {**head, "outbox": told[len(told) - outbox :]}
    return item


def cluster(item: Json | None, *segments: Json) -> StoredReleases:
    releases = StoredReleases(*([item] if item is not None else []))
    releases.stored_config_maps = list(segments)
    return releases


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conductor.cli.receipts.local_now", lambda: NOW)


def carry_out(releases: StoredReleases, out: Terminal, *words: str) -> int:
    arguments = make_parser("conductor").parse_args(["receipts", "mc", *words])
    return VERBS["receipts"].run(arguments, releases, out)


def compare(name: str, shown: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


def kept() -> StoredReleases:
    return cluster(release(outbox=2), segment(lines()[:-1]))


def broken() -> StoredReleases:
    """One is missing, one was changed, one belongs to somebody else."""
    stored = segment(lines())
    data = stored["data"]
    del data[key_of(5)]
    data[key_of(9)] = data[key_of(9)].replace("Failed", "Done")
    data[key_of(12)] = lines(uid="ffffffff-0000-0000-0000-000000000000")[11]
    return cluster(release(), stored)


CASES: dict[str, tuple[Callable[[], StoredReleases], int]] = {
    "receipts": (kept, OK),
    "receipts_broken": (broken, FAILED),
    "receipts_of_a_release_that_is_gone": (lambda: cluster(None, segment(lines()[:5])), OK),
    "receipts_none": (lambda: cluster(soaking()), OK),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_person_sees(name: str, out: Terminal) -> None:
    make, code = CASES[name]
    assert carry_out(make(), out) == code
    compare(name, written(out))


@pytest.mark.parametrize("name", CASES)
def test_colour_adds_nothing_that_the_text_does_not_say(name: str) -> None:
    plain, painted = Terminal(Style(), io.StringIO()), Terminal(Style(colour=True), io.StringIO())
    carry_out(CASES[name][0](), plain)
    carry_out(CASES[name][0](), painted)
    assert ESCAPES.sub("", written(painted)) == written(plain)


@pytest.mark.parametrize("name", CASES)
def test_nothing_but_ascii_where_the_terminal_knows_no_more(name: str) -> None:
    out = Terminal(Style(unicode=False), io.StringIO())
    carry_out(CASES[name][0](), out)
    assert written(out).isascii()


@pytest.mark.parametrize("width", [80, 110, 140])
def test_rows_stay_on_one_line_of_the_screen(width: int) -> None:
    out = Terminal(Style(width=width, colour=True), io.StringIO())
    carry_out(kept(), out)
    table = ESCAPES.sub("", written(out)).split("\n\n", 1)[1].splitlines()
    assert max(map(len, table)) <= width


def test_older_receipts_are_shown_with_their_day(out: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conductor.cli.receipts.local_now", lambda: NOW.replace(day=2))
    carry_out(kept(), out)
    assert "2026-03-01 11:44:00  ● Bootstrapping  installing 1.0.0" in written(out)


def test_verifying_alone_lists_nothing(out: Terminal) -> None:
    assert carry_out(kept(), out, "--verify") == OK
    assert "complete and unbroken" in written(out)
    assert "Bootstrapping" not in written(out)


def test_the_exit_code_and_the_mend_are_there_without_the_list(out: Terminal) -> None:
    assert carry_out(broken(), out, "--verify") == FAILED
    assert "gap at 5: receipt 5 is missing" in written(out)
    assert "mend: put back what is missing, from the operator's log" in written(out)


def test_json_holds_the_receipts_and_the_proof(out: Terminal) -> None:
    assert carry_out(broken(), out, "--json") == FAILED
    answer = json.loads(written(out))
    assert (answer["proven"], answer["uid"], answer["notKept"]) == (False, UID, [])
    assert [(defect["fault"], defect["sequence"]) for defect in answer["defects"]] == [
        ("gap", 5),
        ("altered", 9),
        ("foreign", 12),
    ]
    assert all(defect["mend"] for defect in answer["defects"])
    assert [receipt["sequence"] for receipt in answer["receipts"]][:5] == [1, 2, 3, 4, 6]


def test_json_of_the_proof_alone_is_short(out: Terminal) -> None:
    assert carry_out(kept(), out, "--json", "--verify") == OK
    answer = json.loads(written(out))
    assert "receipts" not in answer
    assert (answer["proven"], answer["count"], answer["notKept"]) == (True, len(TOLD), [len(TOLD)])
    assert answer["interruptions"] == [6]


FORMER = "aaaaaaaa-1111-2222-3333-444455556666"


def made_anew() -> StoredReleases:
    """A release was deleted and one of its name made anew: two chains."""
    former = segment(lines(TOLD[:5], FORMER), FORMER)
    former["metadata"]["creationTimestamp"] = "2026-02-01T11:41:00Z"
    return cluster(release(), segment(lines()), former)


def test_the_chain_of_the_living_release_is_meant(out: Terminal) -> None:
    assert carry_out(made_anew(), out, "--json", "--verify") == OK
    assert json.loads(written(out))["uid"] == UID


def test_former_ones_are_named_and_can_be_asked_for(out: Terminal) -> None:
    assert carry_out(made_anew(), out, "--verify") == OK
    assert f"--uid {FORMER}" in written(out)
    assert carry_out(made_anew(), out, "--verify", "--uid", "aaaa") == OK
    assert "5 receipts in ConfigMap mc-receipts-aaaaaaaa-0" in written(out)
    assert "the release is gone: nothing tells whether receipts are missing at the end" in written(out)


def test_the_newest_is_meant_where_none_lives(out: Terminal) -> None:
    releases = made_anew()
    releases.items.clear()
    assert carry_out(releases, out, "--json", "--verify") == OK
    assert json.loads(written(out))["uid"] == UID


def test_a_uid_that_names_no_chain_is_refused_with_those_there_are(out: Terminal) -> None:
    with pytest.raises(CommandError, match=FORMER):
        carry_out(made_anew(), out, "--uid", "bbbb")


def test_a_name_that_left_nothing_is_told_as_every_other_verb_tells_it(out: Terminal) -> None:
    with pytest.raises(MissingReleaseError, match="no release 'mc'"):
        carry_out(cluster(None), out)


def test_receipts_of_another_release_are_not_looked_at(out: Terminal) -> None:
    other: dict[str, Any] = copy.deepcopy(segment(lines()))
    other["metadata"]["labels"] = segment_labels("other", UID)
    assert carry_out(cluster(release(), segment(lines()), other), out) == OK
