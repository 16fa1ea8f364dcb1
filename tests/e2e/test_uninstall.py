"""The operator is uninstalled in mid-upgrade, then release and namespace go: users notice nothing, nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import operator_install, podinfo
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.namespaces import make_namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import KIND, Release
from harness.waiting import wait_for_objects, wait_gone

CRD = "controlplanereleases.maestro-conductor.io"
OPTIONS = PodinfoOptions(replicas=2, soak="10m", window="10s")
USERS = podinfo.SPARING_USERS
PATIENCE_SECONDS = 90.0

pytestmark = [
    pytest.mark.alone,
    pytest.mark.elsewhere,
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("operator"),
]


@pytest.fixture
def operator_comes_back(kube: Kube) -> Iterator[None]:
    yield
    operator_install.install(kube)


@pytest.fixture
def doomed_namespace(kube: Kube) -> Iterator[str]:
    """A namespace that the test itself deletes; deleted again where the test did not come so far."""
    name = "e2e-doomed"
    make_namespace(kube, name)
    yield name
    if kube.delete("Namespace", name):
        wait_gone(kube, "Namespace", name)


@pytest.mark.usefixtures("operator_comes_back")
def test_traffic_outlives_the_operator_and_nothing_hangs_without_it(
    kube: Kube, doomed_namespace: str
) -> None:
    release = Release(kube, doomed_namespace, podinfo.NAME)

    def ask_for(version: str) -> None:
        release.apply(changed(podinfo.release_spec(version, OPTIONS), traffic__switchHealth__missRate=0.05))

    ask_for(OLD_VERSION)
    release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
    with LoadRun(kube, podinfo.load_plan(doomed_namespace, **USERS), name="doomed-users") as users:

        def serve_on(what: str) -> None:
            so_far = users.latest()
            assert so_far is not None, what
            users.wait_requests(so_far.requests + 4 * USERS["rate"], deadline_seconds=30)

        ask_for(NEW_VERSION)
        release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(NEW_VERSION, deadline_seconds=20)
        operator_install.uninstall(kube)
        serve_on("without an operator")
        assert kube.get("CustomResourceDefinition", CRD) is not None
        item = release.read()
        assert item["status"]["phase"] == "Soaking"
        assert not item["metadata"].get("finalizers")

        kube.delete(KIND, release.name, doomed_namespace)
        wait_gone(kube, KIND, release.name, doomed_namespace, deadline_seconds=10)
        serve_on("without a release")
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert NEW_VERSION in summary.versions
    selected = kube.need("Service", podinfo.NAME, doomed_namespace)["spec"]["selector"]
    serving = ",".join(f"{key}={value}" for key, value in selected.items())
    assert len(kube.objects("Pod", doomed_namespace, labels=serving)) >= OPTIONS.replicas

    kube.delete("Namespace", doomed_namespace)
    wait_gone(kube, "Namespace", doomed_namespace, deadline_seconds=60)
    wait_for_objects(
        kube, "Pod", doomed_namespace, lambda items: not items, what="no pod left", deadline_seconds=10
    )
