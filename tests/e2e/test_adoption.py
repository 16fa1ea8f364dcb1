"""podinfo, installed by plain manifests and with users on it, is taken over, upgraded and taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from harness import podinfo
from harness.asking import asking_job
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.waiting import poll, wait_available, wait_condition

SHORT = PodinfoOptions(replicas=2, soak="5s", window="10s")
#: Long enough that no soak ends by itself.
LONG = PodinfoOptions(replicas=2, soak="10m", window="10s")
PATIENCE_SECONDS = 110.0
#: Fewer verification requests than in production: what is tested here is not how sure a verdict is.
MISS_RATE = 0.05
USERS = podinfo.SPARING_USERS
REVISION = "maestro-conductor.io/revision"

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


def manifests() -> list[dict[str, Any]]:
    """What somebody keeps in a repository; the drain is their own."""
    template = podinfo.pod_template(OLD_VERSION)
    drain = {"preStop": {"sleep": {"seconds": podinfo.DRAIN_SECONDS}}}
    template["spec"]["containers"][0]["lifecycle"] = drain
    labels = {"app": podinfo.NAME}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": podinfo.NAME},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": podinfo.NAME},
            # One port without a name, as in many a manifest.
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    ]


def kubectl_apply(kube: Kube, namespace: str) -> None:
    """As a person or a pipeline does it: what the manifests do not name is let be."""
    kube.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(manifests()))


def adopting(version: str, options: PodinfoOptions) -> dict[str, Any]:
    spec = changed(podinfo.release_spec(version, options), traffic__switchHealth__missRate=MISS_RATE)
    found = {"version": OLD_VERSION, "deployments": [{"component": "web", "name": podinfo.NAME}]}
    return {**spec, "adopt": found}


@pytest.fixture
def running(kube: Kube, test_namespace: str) -> Release:
    """The Deployment and the Service serve, and there is no release yet."""
    kubectl_apply(kube, test_namespace)
    wait_available(kube, podinfo.NAME, test_namespace)
    # An available Deployment says nothing of the node proxies, and users of a Service that they lack are refused.
    kube.apply_all([asking_job(test_namespace, 2, service=podinfo.NAME)], namespace=test_namespace)
    wait_condition(kube, "Job", "ask", test_namespace, "Complete")
    return Release(kube, test_namespace, podinfo.NAME)


def users_of(release: Release) -> LoadRun:
    return LoadRun(release.kube, podinfo.load_plan(release.namespace, **USERS), name="podinfo-users")


def selector(release: Release) -> dict[str, str]:
    found: dict[str, str] = release.kube.need("Service", podinfo.NAME, release.namespace)["spec"]["selector"]
    return found


def replicas(release: Release) -> int:
    return int(release.kube.need("Deployment", podinfo.NAME, release.namespace)["spec"]["replicas"])


def pod_uids(release: Release) -> set[str]:
    pods = release.kube.objects("Pod", release.namespace, labels=f"app={podinfo.NAME}")
    return {pod["metadata"]["uid"] for pod in pods}


def wait_more(users: LoadRun) -> None:
    so_far = users.latest()
    assert so_far is not None
    users.wait_requests(so_far.requests + 5 * USERS["rate"], deadline_seconds=40)


def last_old_answer(summary: LoadSummary) -> datetime:
    found = [summary.last_answer(OLD_VERSION, client) for client in (ONE_SHOT, KEEP_ALIVE)]
    return max(at for at in found if at is not None)


def test_what_runs_is_adopted_and_upgraded_and_its_manifests_may_be_applied_again(running: Release) -> None:
    kube, namespace = running.kube, running.namespace
    before = pod_uids(running)
    with users_of(running) as users:
        users.wait_version(OLD_VERSION, deadline_seconds=30)
        running.apply(adopting(NEW_VERSION, SHORT))
        running.wait(
            lambda item: item.get("status", {}).get("activeVersion") == OLD_VERSION,
            what="the adoption", deadline_seconds=30,
        )  # fmt: skip
        assert before <= pod_uids(running), "a pod was replaced for being adopted"
        running.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        serving = selector(running)
        kubectl_apply(kube, namespace)
        assert selector(running) == serving, "an ordinary apply moves nobody"
        upgrade = running.wait_upgrade(
            NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS
        )
        users.wait_version(NEW_VERSION, deadline_seconds=20, only=True)
        poll(lambda: replicas(running) == 0 or None, what="the old Deployment at zero", deadline_seconds=30)

        forced_at = datetime.now(UTC)
        kube.apply_all(manifests(), namespace=namespace, manager="some-pipeline")
        poll(
            lambda: (replicas(running) == 0 and selector(running) == serving) or None,
            what="the old Deployment back at zero and the Service back", deadline_seconds=20,
        )  # fmt: skip
        wait_more(users)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {OLD_VERSION, NEW_VERSION}
    assert last_old_answer(summary) < forced_at, "a forced apply leads nobody back"
    assert (upgrade.from_version, upgrade.to_version) == (OLD_VERSION, NEW_VERSION)
    assert serving.items() > {"app": podinfo.NAME}.items()


@pytest.mark.chaos
def test_users_go_back_to_what_was_adopted_and_later_from_version_to_version(running: Release) -> None:
    with users_of(running) as users:
        running.apply(adopting(NEW_VERSION, LONG))
        running.wait_shed(deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(NEW_VERSION, deadline_seconds=20, only=True)
        running.command("rollback")
        running.wait_upgrade(NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(OLD_VERSION, deadline_seconds=20, only=True)
        assert replicas(running) == 2
        assert REVISION not in selector(running)

        running.apply(adopting(NEW_VERSION, SHORT))
        running.command("retry")
        running.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(NEW_VERSION, deadline_seconds=20, only=True)
        assert replicas(running) == 0

        running.apply(adopting(OLD_VERSION, LONG))
        running.wait_shed(deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(OLD_VERSION, deadline_seconds=20, only=True)
        running.command("rollback")
        running.wait_upgrade(OLD_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(NEW_VERSION, deadline_seconds=20, only=True)
        wait_more(users)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {OLD_VERSION, NEW_VERSION}
