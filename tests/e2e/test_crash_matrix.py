"""The operator dies at its writes, and the story ends as if it had not. All of it: `make chaos`, docs/chaos.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.crash_runs import Lane, lane
from harness.faults import Fault
from harness.kube import Kube
from harness.stories import PodinfoRoundTrip

REVISION = "maestro-conductor.io/revision"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.elsewhere,
    pytest.mark.timeout(420),
    pytest.mark.usefixtures("no_other_operator"),
]


@pytest.fixture
def made(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> Iterator[Lane[PodinfoRoundTrip]]:
    before = request.session.testsfailed
    with lane(kube, PodinfoRoundTrip, failed=lambda: request.session.testsfailed > before) as ready:
        yield ready


def test_an_operator_that_dies_after_each_of_its_effects_goes_there_and_back(
    made: Lane[PodinfoRoundTrip],
) -> None:
    """One telling of the quick kind; it ends as it began, but for the version that failed."""
    told = made.tell(Fault("kill", on="effect", side="after", times=0, each_once=True))
    assert told.wrong == ()
    killed_at = set(told.killed_at)
    assert {"create Deployment/podinfo-web-<to>-<to>", "patch Service/podinfo"} <= killed_at
    assert "delete Deployment/podinfo-web-<to>-<to>" in killed_at
    assert told.end["Service/podinfo"]["selector"][REVISION] == "<from>"
    assert {name: item["replicas"] for name, item in told.end.items() if name.startswith("Deployment/")} == {
        "Deployment/podinfo-web-<from-colour>-<from>": made.story.options.replicas
    }
    status = told.end["status"]
    assert (status["activeRevision"], status["failedDigest"]) == ("<from>", "<to>")
    assert status["conditions"]["Stalled"] == ["True", "RolledBack"]
    assert status["lastUpgrade"]["timeline"] == [
        *("Preflight", "BringingUp", "Migrating", "Verifying", "Switching", "Soaking", "RollingBack"),
    ]
