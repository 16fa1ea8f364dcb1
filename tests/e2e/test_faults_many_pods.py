"""A component of 300 pods is upgraded and taken back: docs/faults.md, part 6.

The pods are kwok's and cost nothing; their traffic is synthetic, and no node proxy is asked, because those nodes have
none. API server, controllers, Prometheus and the operator, behind the rig, are real.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.images import deliver
from cluster.interface import select
from harness.end_state import LABEL_RELEASE, LABEL_REVISION
from harness.kube import Kube, Object
from harness.load_run import RESTRICTED_CONTAINER, RESTRICTED_POD
from harness.namespaces import namespace
from harness.podinfo import changed
from harness.releases import Release
from harness.rig_pod import Rig, rig
from harness.waiting import wait_gone
from scenarios import fleet, peers

PODS = 300
NAME = "r0"
DEADLINE_SECONDS = 600.0
#: The surge of a shedding wave is a third of the colour.
MOST_PODS = 2 * PODS + PODS // 3
#: etcd refuses objects of more than 1.5 MB; what grows with the pods must stay far from it.
STATUS_BYTES = 32_000
BACK_SECONDS = 5.0

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def many(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> Iterator[tuple[Rig, Release]]:
    """1.0.0 serves with 300 pods."""
    deliver(select(), ["kwok:dev"])
    before = request.session.testsfailed

    def failed() -> bool:
        return request.session.testsfailed > before

    try:
        peers.install_kwok(kube)
        peers.install_traffic(kube)
        with (
            namespace(kube, "many", failed=failed) as place,
            rig(kube, place, values=("nodeProof=Off",), failed=failed) as control,
        ):
            release = Release(kube, place, NAME)
            release.apply(spec(fleet.FIRST))
            release.wait_settled(fleet.FIRST, deadline_seconds=DEADLINE_SECONDS)
            yield control, release
    finally:
        # Other tests' operators ask every node that there is.
        for node in fleet.nodes():
            kube.delete("Node", node["metadata"]["name"])
        for place in (peers.SYSTEM, peers.METRICS):
            kube.delete("Namespace", place)
            wait_gone(kube, "Namespace", place, deadline_seconds=DEADLINE_SECONDS)


def spec(version: str, soak: str = "10s") -> dict[str, Any]:
    return changed(
        fleet.release(0, version)["spec"],
        components__0__replicas=PODS,
        components__0__template__spec__securityContext=RESTRICTED_POD,
        components__0__template__spec__containers__0__securityContext=RESTRICTED_CONTAINER,
        soak=soak,
        deadlines__bringUp="10m",
        deadlines__verify="10m",
    )


class Watching:
    """How many pods there were, and how many of them ready by revision, as often as one can look."""

    def __init__(self, release: Release) -> None:
        self.most = 0
        self.least_serving = PODS
        self.looks = 0
        self._release = release
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        kube, place = self._release.kube, self._release.namespace
        while not self._over.is_set():
            pods = kube.objects("Pod", place, labels=f"{LABEL_RELEASE}={NAME}")
            served = kube.need("Service", NAME, place)["spec"]["selector"][LABEL_REVISION]
            ready = Counter(pod["metadata"]["labels"][LABEL_REVISION] for pod in pods if _ready(pod))
            standing = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            self.most = max(self.most, len(standing))
            self.least_serving = min(self.least_serving, ready[served])
            self.looks += 1
            self._over.wait(0.5)


def _ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or []
    return "deletionTimestamp" not in pod["metadata"] and any(
        (each["type"], each["status"]) == ("Ready", "True") for each in conditions
    )


def replicas(release: Release) -> dict[str, int]:
    """By version."""
    found = release.kube.objects("Deployment", release.namespace, labels=f"{LABEL_RELEASE}={NAME}")
    images = (item["spec"]["template"]["spec"]["containers"][0]["image"] for item in found)
    return {
        image.rsplit(":", 1)[1]: item["spec"]["replicas"] for image, item in zip(images, found, strict=True)
    }


def assert_bounded(release: Release, seen: Watching) -> None:
    assert seen.looks >= 10
    assert seen.least_serving >= PODS, "whoever serves is never fewer"
    assert seen.most <= MOST_PODS
    assert len(json.dumps(release.status())) <= STATUS_BYTES


def test_three_hundred_pods_are_upgraded(many: tuple[Rig, Release]) -> None:
    _, release = many
    with Watching(release) as seen:
        release.apply(spec(fleet.SECOND))
        release.wait_upgrade(fleet.SECOND, outcomes=("Succeeded",), deadline_seconds=DEADLINE_SECONDS)
    assert replicas(release) == {fleet.FIRST: 0, fleet.SECOND: PODS}
    assert_bounded(release, seen)


def test_three_hundred_pods_are_taken_back(many: tuple[Rig, Release]) -> None:
    rig_, release = many
    with Watching(release) as seen:
        release.apply(spec(fleet.FIRST, soak="60m"))
        release.wait_shed(deadline_seconds=DEADLINE_SECONDS)
        release.command("rollback")
        ended = release.wait_upgrade(fleet.FIRST, outcomes=("RolledBack",), deadline_seconds=DEADLINE_SECONDS)
    assert ended.decided_at is not None
    assert ended.switched_back_at is not None
    assert (ended.switched_back_at - ended.decided_at).total_seconds() < BACK_SECONDS
    assert replicas(release)[fleet.SECOND] == PODS
    assert_bounded(release, seen)
    assert rig_.deaths() == []
