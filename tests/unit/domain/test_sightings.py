"""What a Job's answer shows of the database's servers stands in the status; what cannot be read of it harms nobody."""

from typing import Any

import pytest
from tests.unit.domain.plane import Json, migrations, spec
from tests.unit.domain.story import Story, installed

from conductor.api.parse import parse_status
from conductor.api.status import MigrationsStatus, Outcome, Phase
from conductor.domain.phases.sightings import REPLICAS, of_servers

STANDBY: Json = {
    "endpoint": "standby:5432/mc",
    "state": "ok",
    "lsn": "0/3000060",
    "ledgerLine": 19,
    "timeline": 1,
}
MIGRATED: Json = {
    "state": "migrated",
    "ledgerLine": 19,
    "systemId": "7421",
    "timeline": 1,
    "replicas": [STANDBY],
}


def told(answer: Json) -> tuple[Story, MigrationsStatus]:
    """The upgrade in its soak, after its migrate Job said this."""
    story = installed(spec("1.0.0", migrations=migrations("1.0.0")))
    story.machinery.jobs["migrate"] = [answer]
    story.apply(spec("1.1.0", migrations=migrations("1.1.0")))
    story.until(Phase.SOAKING)
    found = story.status.migrations
    assert found is not None
    return story, found


def test_system_timeline_lsn_and_line_of_both_servers_are_in_the_status() -> None:
    story, found = told(MIGRATED)
    dumped = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert {key: dumped[key] for key in ("ledgerLine", "systemId", "timeline", "replicas")} == {
        key: MIGRATED[key] for key in ("ledgerLine", "systemId", "timeline", "replicas")
    }
    assert (
        parse_status(story.status.model_dump(mode="json", by_alias=True, exclude_none=True)) == story.status
    )


def test_the_next_job_says_anew_how_they_stand() -> None:
    story, _ = told(MIGRATED)
    behind = STANDBY | {"state": "ReplicaPaused", "ledgerLine": 18}
    story.machinery.jobs["contract"] = [{"state": "contracted", "ledgerLine": 23, "replicas": [behind]}]
    story.settled()
    found = story.status.migrations
    assert found is not None
    assert (found.ledger_line, found.system_id, found.timeline) == (23, "", None)
    assert [(one.state, one.ledger_line) for one in found.replicas] == [("ReplicaPaused", 18)]


@pytest.mark.parametrize(
    "changed",
    [
        {"systemId": 7421},
        {"systemId": "7" * 254},
        {"timeline": True},
        {"timeline": -1},
        {"timeline": 2**32},
        {"timeline": "1"},
        {"replicas": "standby"},
        {"replicas": {"endpoint": "a", "state": "ok"}},
        {
            "replicas": [
                None,
                1,
                "a",
                [],
                {},
                {"endpoint": "a"},
                {"state": "ok"},
                {"endpoint": 1, "state": "ok"},
            ]
        },
        {"replicas": [{"endpoint": "", "state": "ok"}, {"endpoint": "a", "state": "x" * 254}]},
    ],
)
def test_what_cannot_be_read_is_left_out_and_the_upgrade_goes_on(changed: Json) -> None:
    story, found = told(MIGRATED | changed)
    (left_out,) = changed
    assert not found.model_dump(by_alias=True)[left_out]
    assert found.ledger_line == 19
    story.settled()
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"lsn": 5}, "lsn"),
        ({"ledgerLine": 10**30}, "ledger_line"),
        ({"ledgerLine": "19"}, "ledger_line"),
        ({"timeline": 1.5}, "timeline"),
    ],
)
def test_of_a_replica_only_what_cannot_be_read_is_left_out(changed: Json, field: str) -> None:
    (found,) = of_servers({"replicas": [STANDBY | changed]})["replicas"]
    (whole,) = of_servers({"replicas": [STANDBY]})["replicas"]
    assert found == whole.model_copy(update={field: "" if field == "lsn" else None})


def test_it_is_bounded_whatever_a_runner_says() -> None:
    many: Any = [STANDBY | {"endpoint": f"{number}" * 300, "novelty": "x" * 4000} for number in range(20)]
    found = of_servers({"replicas": many})["replicas"]
    assert len(found) == REPLICAS
    assert {len(one.endpoint) for one in found} == {253}
    assert all(set(one.model_dump()) == set(type(one).model_fields) for one in found)
