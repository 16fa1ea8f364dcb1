"""docs/replicas.md names every reason about a standby that the runner has, and a spec that is taken."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from conductor.api.spec import Migrations
from migrator.stops import Reason

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "replicas.md").read_text()
ABOUT_SERVERS = {reason.value for reason in Reason if reason.name.startswith("REPLICA_")} | {
    Reason.FAILED_OVER.value,
    Reason.LEDGER_BEHIND.value,
}


def test_every_reason_about_a_standby_has_its_mend() -> None:
    table = DOCUMENT.partition("## What can be wrong")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert {reason for reason, _, _ in rows} == ABOUT_SERVERS
    assert len(rows) == len(ABOUT_SERVERS)


def test_its_spec_is_taken() -> None:
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    migrations = Migrations.model_validate(yaml.safe_load(found[1])["spec"]["migrations"])
    assert migrations.replica_keys == ("replica-a", "replica-b")


def test_every_link_and_every_test_that_it_names_is_there() -> None:
    for path in re.findall(r"\]\(([^)#:]+)", DOCUMENT):
        assert (ROOT / "docs" / path).is_file(), path
    for path in re.findall(r"`(tests/[\w/]+\.py)`", DOCUMENT):
        assert (ROOT / path).is_file(), path
