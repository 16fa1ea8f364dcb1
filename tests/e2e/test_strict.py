"""Two components with `consistency: Strict`: no transaction meets two versions, through an upgrade and a rollback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness import pairs, podinfo
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions
from harness.releases import Release

#: Long enough that no soak ends by itself.
OPTIONS = PodinfoOptions(replicas=2, soak="10m", window="10s")
PATIENCE_SECONDS = 90.0
USERS = podinfo.SPARING_USERS

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]


def leads_to(release: Release, service: str) -> str:
    """The revision that a Service selects."""
    found = release.kube.need("Service", service, release.namespace)
    return str(found["spec"]["selector"]["maestro-conductor.io/revision"])


def test_no_transaction_meets_two_versions_through_an_upgrade_and_a_rollback(
    kube: Kube, test_namespace: str, record_property: Callable[[str, object], None]
) -> None:
    release = Release(kube, test_namespace, pairs.NAME)
    release.apply(pairs.release_spec(OLD_VERSION, OPTIONS, strict=True))
    status = release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)["status"]
    blue = status["activeRevision"]
    assert leads_to(release, "back-blue") == leads_to(release, "front-blue") == blue

    plan = pairs.load_plan(test_namespace, **USERS)
    with LoadRun(kube, plan, name="pair-users") as users:
        release.apply(pairs.release_spec(NEW_VERSION, OPTIONS, strict=True))
        shed = release.wait_shed(deadline_seconds=PATIENCE_SECONDS)
        met = users.wait_version(pairs.both(NEW_VERSION), deadline_seconds=20, only=True)
        # Each client with a kept connection has had its turn on the new version by then.
        users.wait_requests(met.requests + 5 * USERS["rate"], deadline_seconds=30)
        green = shed["status"]["upgrade"]["toRevision"]
        assert leads_to(release, "front") == leads_to(release, "back") == green
        assert (leads_to(release, "back-blue"), leads_to(release, "back-green")) == (blue, green)
        release.command("rollback")
        release.wait_upgrade(NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(pairs.both(OLD_VERSION), deadline_seconds=20, only=True)
        summary = users.stop()

    assert not summary.faults(), summary.line()
    record_property("transactions", {pair: report.answers for pair, report in summary.versions.items()})
    assert set(summary.versions) == {pairs.both(OLD_VERSION), pairs.both(NEW_VERSION)}
    assert pairs.mixed(summary).count == 0
    assert leads_to(release, "back-blue") == leads_to(release, "back") == blue
