"""Two operators: one leads, the other takes over when the first dies or freezes, and users notice nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness import podinfo
from harness.faults import Fault
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.rig_pod import HELM_RELEASE, Rig, rig
from harness.waiting import poll, wait_available, wait_for_object

#: From the death of a leader until another one leads: the Lease's 10 s, a renewal's 2 s, and a busy machine.
TAKEOVER_SECONDS = 15.0
PATIENCE_SECONDS = 90.0
LEASE = "maestro-conductor"
SWITCH = f"patch Service/{podinfo.NAME}"
SHORT_SOAK = PodinfoOptions(replicas=2, soak="5s", window="10s")
LONG_SOAK = PodinfoOptions(replicas=2, soak="10m", window="10s")

pytestmark = [pytest.mark.alone, pytest.mark.elsewhere, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Pair:
    """A release with an operator in a rig and, beside it, the chart's own Deployment of the operator."""

    release: Release
    rig: Rig

    @property
    def kube(self) -> Kube:
        return self.release.kube

    @property
    def namespace(self) -> str:
        return self.release.namespace

    def holder(self) -> str:
        return str(self.kube.need("Lease", LEASE, self.namespace)["spec"].get("holderIdentity") or "")

    def stand_by(self, replicas: int) -> None:
        """Bring the second operator, or take it away in order; it gives the Lease back then."""
        labels = f"app.kubernetes.io/name=conductor,app.kubernetes.io/instance={HELM_RELEASE}"
        (deployment,) = self.kube.objects("Deployment", self.namespace, labels=labels)
        name = deployment["metadata"]["name"]
        self.kube.scale("Deployment", name, self.namespace, replicas)
        wait_available(self.kube, name, self.namespace)

    def wait_taken_over(self, former: str) -> None:
        wait_for_object(
            self.kube, "Lease", LEASE, self.namespace,
            lambda item: item["spec"].get("holderIdentity") not in (former, "", None),
            what=f"another holder than {former}", deadline_seconds=TAKEOVER_SECONDS,
        )  # fmt: skip

    def users(self) -> LoadRun:
        return LoadRun(self.kube, podinfo.load_plan(self.namespace, **podinfo.SPARING_USERS), name="ha-users")

    def ask_for(self, version: str, options: PodinfoOptions) -> None:
        spec = podinfo.release_spec(version, options)
        self.release.apply(changed(spec, traffic__switchHealth__missRate=0.05))

    def selector(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.need("Service", podinfo.NAME, self.namespace)["spec"]["selector"]
        return found


@pytest.fixture(scope="module")
def installed(kube: Kube, no_other_operator: None, request: pytest.FixtureRequest) -> Iterator[Pair]:
    before = request.session.testsfailed

    def failed() -> bool:
        return request.session.testsfailed > before

    with namespace(kube, "ha", failed=failed) as name, rig(kube, name, failed=failed) as control:
        pair = Pair(Release(kube, name, podinfo.NAME), control)
        pair.ask_for(OLD_VERSION, SHORT_SOAK)
        pair.release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        yield pair


@pytest.fixture
def pair(installed: Pair) -> Iterator[Pair]:
    """The operator in the rig leads, the other one stands by."""
    installed.stand_by(1)
    yield installed
    installed.rig.set_faults()
    installed.rig.server("release")
    installed.rig.resume()
    since = len(installed.rig.seen())
    installed.rig.start()
    installed.stand_by(0)
    installed.rig.wait_leading(since=since)


@pytest.mark.chaos
def test_a_killed_leader_is_followed_by_the_other_in_mid_upgrade(pair: Pair) -> None:
    former = pair.holder()
    with pair.users() as users:
        pair.ask_for(NEW_VERSION, SHORT_SOAK)
        pair.release.wait_phase("Verifying", deadline_seconds=PATIENCE_SECONDS)
        pair.rig.end()
        pair.wait_taken_over(former)
        pair.release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(NEW_VERSION, deadline_seconds=20, only=True)
        summary = users.stop()
    assert not summary.faults(), summary.line()


@pytest.mark.chaos
def test_a_frozen_leaders_switch_is_refused_when_it_wakes(pair: Pair) -> None:
    """The worst moment: a switch patch is on its way when the leader freezes, and traffic has gone back since."""
    former, serving, epoch = pair.holder(), pair.selector(), pair.release.status()["epoch"]
    old = pair.release.status()["activeVersion"]
    new = NEW_VERSION if old == OLD_VERSION else OLD_VERSION
    since = pair.rig.begin()
    pair.rig.set_faults(Fault("hold", on="write", points=(SWITCH,)))
    with pair.users() as users:
        pair.ask_for(new, LONG_SOAK)
        pair.rig.wait_fired(deadline_seconds=PATIENCE_SECONDS)
        assert pair.selector() == serving, "the patch is held before the API server sees it"
        pair.wait_taken_over(former)
        pair.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(new, deadline_seconds=20)
        pair.release.command("rollback")
        pair.release.wait_upgrade(new, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        assert pair.release.status()["epoch"] > epoch

        pair.rig.server("release")
        held = poll(
            lambda: next((item for item in pair.rig.seen(since) if item["fault"] and item["status"]), None),
            what="the API server's answer to the held patch", deadline_seconds=20,
        )  # fmt: skip
        assert held["status"] in (409, 422), held
        woken = len(pair.rig.seen())
        pair.rig.resume()
        so_far = users.latest()
        assert so_far is not None
        users.wait_requests(so_far.requests + 10 * podinfo.SPARING_USERS["rate"], deadline_seconds=30)
        summary = users.stop()
    assert [item["point"] for item in pair.rig.seen(woken) if item["status"] < 300] == []
    assert pair.selector() == serving
    assert not summary.faults(), summary.line()
