"""Which server keeps the ledger and how its replicas stood: one line of `status`, and only where there are any."""

from conductor.cli.render import release_lines
from conductor.cli.style import Style
from conductor.cli.view import read_release

from .conftest import NOW, Json, soaking, stable

TOLD = {
    "state": "migrated",
    "verb": "migrate",
    "ledgerLine": 42,
    "systemId": "7421",
    "timeline": 2,
    "replicas": [
        {"endpoint": "standby:5432/mc", "state": "ok", "lsn": "0/3000060", "ledgerLine": 42, "timeline": 2},
        {"endpoint": "far:5432/mc", "state": "ReplicaUnreachable"},
    ],
}


def ledger_lines(item: Json) -> str:
    lines = release_lines(read_release(item), NOW, Style(width=200))
    return "\n".join(line for line in lines if line.startswith("Ledger"))


def test_it_says_line_system_and_timeline_and_what_each_replica_has() -> None:
    item = soaking()
    item["status"]["migrations"] = TOLD
    assert ledger_lines(item) == (
        "Ledger     after migrate: line 42, system 7421, timeline 2; "
        "standby:5432/mc ok, line 42, timeline 2, LSN 0/3000060; far:5432/mc ReplicaUnreachable"
    )


def test_where_the_role_may_not_ask_for_the_system_nothing_is_made_up() -> None:
    item = soaking()
    item["status"]["migrations"] = {"verb": "expand", "replicas": [{"endpoint": "a", "state": "ok"}]}
    assert ledger_lines(item) == "Ledger     after expand: no line; a ok"


def test_without_a_replica_there_is_no_such_line() -> None:
    for item in (stable(), soaking()):
        item["status"]["migrations"] = TOLD | {"replicas": []}
        assert not ledger_lines(item)
