"""The cluster itself: what every other e2e test stands on, shown on whichever of the three ways it came by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import existing, leftovers
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage
from cluster.interface import chosen_way
from cluster.local import LocalCluster
from harness import podinfo
from harness.asking import asking_job, web
from harness.kube import ApiError, Kube
from harness.namespaces import namespace
from harness.waiting import poll, wait_available, wait_condition, wait_for_objects

REPLICAS = 2


@pytest.fixture(scope="module")
def web_namespace(kube: Kube) -> Iterator[str]:
    """A namespace in which podinfo serves behind the Service `web`."""
    with namespace(kube, "web") as name:
        kube.apply_all(web(REPLICAS), namespace=name)
        wait_available(kube, "web", name)
        yield name


def cluster_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_every_pod_behind_a_service_answers_a_job_that_asks_by_name(kube: Kube, web_namespace: str) -> None:
    kube.apply_all([asking_job(web_namespace, REPLICAS)], namespace=web_namespace)
    wait_condition(kube, "Job", "ask", web_namespace, "Complete")
    (asker,) = kube.objects("Pod", web_namespace, labels="app=ask")
    answered = json.loads(kube.log(asker["metadata"]["name"], web_namespace))
    pods = kube.objects("Pod", web_namespace, labels=f"app={podinfo.NAME}")
    assert answered == sorted(pod["metadata"]["name"] for pod in pods)
    assert len(answered) == REPLICAS


def test_a_command_runs_in_a_pod(kube: Kube, web_namespace: str) -> None:
    printed = kube.kubectl("-n", web_namespace, "exec", "deploy/web", "--", "/podinfo", "--version")
    assert printed.strip() == podinfo.OLD_VERSION


def test_prometheus_scrapes_annotated_pods_and_names_them(kube: Kube, web_namespace: str) -> None:
    pods = {
        pod["metadata"]["name"] for pod in kube.objects("Pod", web_namespace, labels=f"app={podinfo.NAME}")
    }
    query = f'http_request_duration_seconds_count{{namespace="{web_namespace}"}}'

    def scraped() -> set[str]:
        answer = kube.service_get("prometheus", 9090, "monitoring", "/api/v1/query", query=query)
        return {sample["metric"]["pod"] for sample in answer["data"]["result"]}

    poll(
        lambda: True if scraped() == pods else None,
        what=f"samples of {sorted(pods)} in Prometheus",
        deadline_seconds=30,
        last_seen=scraped,
    )


def test_restricted_pod_security_refuses_a_root_pod(kube: Kube, test_namespace: str) -> None:
    container = {"name": "root", "image": podinfo.image(podinfo.OLD_VERSION)}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [container]},
    }
    with pytest.raises(ApiError, match="violates PodSecurity"):
        kube.apply_all([pod], namespace=test_namespace)


def test_admission_policies_are_enforced(kube: Kube, test_namespace: str) -> None:
    name = f"no-forbidden-{test_namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["configmaps"],
                    }
                ]
            },
            "validations": [
                {"expression": "object.metadata.name != 'forbidden'", "message": "forbidden here"}
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": test_namespace}}
            },
        },
    }
    kube.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
    )
    forbidden = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "forbidden"}}

    def refusal() -> str | None:
        try:
            kube.apply_all([forbidden], namespace=test_namespace)
        except ApiError as error:
            return str(error)
        kube.delete("ConfigMap", "forbidden", test_namespace)
        return None

    try:
        assert "forbidden here" in poll(refusal, what="the policy in force", deadline_seconds=30)
    finally:
        both = ["validatingadmissionpolicy", "validatingadmissionpolicybinding"]
        for kind in both:
            kube.kubectl("delete", kind, name)


def test_up_keeps_a_healthy_cluster(kube: Kube) -> None:
    def started() -> list[str]:
        return sorted(pod["metadata"]["uid"] for pod in kube.objects("Pod", "monitoring"))

    before = started()
    done = cluster_command("up")
    assert done.returncode == 0, done.stderr
    assert started() == before


def test_the_same_cluster_serves_as_an_existing_one(kube: Kube) -> None:
    """Whoever has only a kubeconfig finds the cluster healthy and its images in place."""
    kubeconfig = cluster_command("kubeconfig").stdout.strip()
    way = {"MC_CLUSTER": "existing", "KUBECONFIG": kubeconfig}
    up = cluster_command("up", **way)
    assert up.returncode == 0, up.stderr
    status = cluster_command("status", **way)
    assert status.stdout.strip() == "existing: healthy", status.stdout + status.stderr
    wait_for_objects(
        kube, "Node", "", lambda nodes: all(podinfo.image(podinfo.OLD_VERSION) in held(node) for node in nodes),
        what="podinfo in every node's list of images",
    )  # fmt: skip
    images = cluster_command("images", "podinfo", **way)
    assert images.returncode == 0, images.stderr
    assert "there already" in images.stderr
    down = cluster_command("down", **way)
    assert down.returncode == 0, down.stderr
    assert kube.objects("Pod", "monitoring"), "a cluster that is not ours was changed by `down`"


def held(node: dict[str, Any]) -> set[str]:
    return {name for image in node["status"].get("images", []) for name in image.get("names") or []}


def test_an_existing_cluster_names_the_image_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", cluster_command("kubeconfig").stdout.strip())
    absent = StoredImage("localhost/absent:1", "key", "sha256:0")
    with pytest.raises(ClusterError, match="localhost/absent:1"):
        existing.ExistingCluster().load_images([absent])


# The local way needs root and no Docker; where it cannot run, there is nothing of it to show.
if chosen_way() != "kind" and os.geteuid() == 0:
    # `make test` itself runs on two clusters, and `down` fails when anything is left of one.
    @pytest.mark.chaos
    @pytest.mark.timeout(240)
    def test_a_second_instance_comes_up_beside_the_first_and_leaves_no_trace(kube: Kube) -> None:
        second = LocalCluster("second")
        second.down()
        assert leftovers.found(second) == []
        second.up()
        try:
            assert second.problems() == []
            nodes = subprocess.run(
                ["kubectl", "get", "nodes", "-o", "name"],
                env={**os.environ, **second.environment()},
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert nodes.stdout.split() == ["node/node-1"]
            assert leftovers.found(second), "the proof would see nothing even of a running cluster"
            second.node.daemon("kube-scheduler").stop()
            assert second.problems() == ["not running: kube-scheduler"]
        finally:
            second.down()
        assert leftovers.found(second) == []
        assert cluster_command("status").returncode == 0, "ending one instance harmed the other"
