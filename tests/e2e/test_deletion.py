"""A release that was asked to clear up leaves nothing: no Job, no pinned copy, no record of a former revision."""

from __future__ import annotations

import pytest

from harness import podinfo
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import KIND, PhaseRecorder, Release
from harness.waiting import poll, wait_for_objects, wait_gone

OPTIONS = PodinfoOptions(replicas=2, soak="5s", window="10s")
SETTINGS, DATABASE = "settings", "database"
LABEL = f"maestro-conductor.io/release={podinfo.NAME}"
MADE = ("Service", "Deployment", "Job", "ConfigMap", "ControllerRevision")
ENDS_SECONDS = 120.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


def spec(version: str) -> dict[str, object]:
    """Two pods with a ConfigMap, clients moved in two steps."""
    return changed(
        podinfo.release_spec(version, OPTIONS),
        deletionPolicy="Delete",
        traffic__switchHealth__missRate=0.05,
        # One of three pods cannot be reached by scaling: a pod is told not to serve, and later to serve again.
        traffic__ramp=[{"weight": 34, "hold": "5s"}, {"weight": 50, "hold": "5s"}],
        components__0__template__spec__containers__0__envFrom=[{"configMapRef": {"name": SETTINGS}}],
    )


def made(kube: Kube, namespace: str) -> dict[str, list[str]]:
    return {
        kind: [item["metadata"]["name"] for item in kube.objects(kind, namespace, labels=LABEL)]
        for kind in MADE
    }


def test_a_ramp_a_failed_migration_and_then_nothing_is_left(kube: Kube, test_namespace: str) -> None:
    kube.apply_all(
        [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS}, "data": {"A": "b"}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": DATABASE},
                "stringData": {"url": "none"},
            },
        ],
        namespace=test_namespace,
    )
    release = Release(kube, test_namespace, podinfo.NAME)
    release.apply(spec(OLD_VERSION))
    release.wait_settled(OLD_VERSION, deadline_seconds=ENDS_SECONDS)

    plan = podinfo.load_plan(test_namespace, **podinfo.SPARING_USERS)
    with LoadRun(kube, plan, name="ramp-users") as users, PhaseRecorder(release) as recorder:
        users.wait_requests(100, deadline_seconds=30)
        release.apply(spec(NEW_VERSION))
        release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=ENDS_SECONDS)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert "Ramping" in recorder.phases()
    shares = {status["traffic"].get("green") for _, status in recorder.seen if status.get("traffic")}
    assert {34, 50} <= shares, shares

    refused = changed(
        spec("6.9.2"),
        migrations={
            "image": "localhost/mc-migrations:1.1.0",
            "databaseSecretRef": {"name": DATABASE, "key": "url"},
        },
    )
    release.apply(refused)
    upgrade = release.wait_upgrade("6.9.2", outcomes=("Refused",), deadline_seconds=ENDS_SECONDS)
    assert upgrade.reason == "ExpandFailed"
    before = made(kube, test_namespace)
    assert all(before.values()), before
    copies = [name for name in before["ConfigMap"] if name.startswith(f"{SETTINGS}-")]
    assert copies

    kube.delete(KIND, release.name, test_namespace)
    wait_gone(kube, KIND, release.name, test_namespace, deadline_seconds=ENDS_SECONDS)
    left = poll(
        lambda: found if not any((found := made(kube, test_namespace)).values()) else None,
        what="nothing left of the release", last_seen=lambda: made(kube, test_namespace),
    )  # fmt: skip
    assert left == {kind: [] for kind in MADE}
    wait_for_objects(
        kube, "Pod", test_namespace, lambda pods: not pods, labels=LABEL, what="no pod of the release left"
    )
    assert kube.get("ConfigMap", SETTINGS, test_namespace) is not None, "what the user made stays"
