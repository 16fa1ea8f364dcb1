"""Readers, on objects as an API server shows them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.domain.plane import spec

from conductor.api import names
from conductor.api.spec import Colour
from conductor.domain.snapshot import Endpoint
from conductor.observe import read, read_pods

Json = dict[str, Any]
LABELS = {
    names.LABEL_RELEASE: "mc",
    names.LABEL_COMPONENT: "api",
    names.LABEL_COLOUR: "green",
    names.LABEL_REVISION: "0a1b2c3d4e",
}


def deployment(**status: Any) -> Json:
    return {
        "metadata": {"name": "mc-api-green-0a1b2c3d4e", "generation": 3, "labels": dict(LABELS)},
        "spec": {"replicas": 3},
        "status": {
            "observedGeneration": 3,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 2,
            **status,
        },
    }


def test_a_deployment() -> None:
    found = read.workload(deployment())
    assert found is not None
    assert (found.name, found.component, found.colour, found.revision) == (
        "mc-api-green-0a1b2c3d4e",
        "api",
        Colour.GREEN,
        "0a1b2c3d4e",
    )
    assert (found.replicas, found.ready, found.observed) == (3, 2, True)


def test_a_deployment_that_its_controller_has_not_looked_at() -> None:
    found = read.workload(deployment(observedGeneration=2))
    assert found is not None
    assert not found.observed


def test_a_deployment_of_nobody_we_know() -> None:
    foreign = deployment()
    foreign["metadata"]["labels"] = {"app": "other"}
    purple = deployment()
    purple["metadata"]["labels"][names.LABEL_COLOUR] = "purple"
    assert read.workload(foreign) is None
    assert read.workload(purple) is None


def pod(state: Json | None = None, ready: str = "True", **more: Any) -> Json:
    return {
        "metadata": {
            "name": "mc-api-green-0a1b2c3d4e-7d9c5b8f6-x2x4q",
            "uid": "8f14e45f",
            "creationTimestamp": "2026-03-01T12:00:00Z",
            "labels": {**LABELS, names.LABEL_SERVING: "true"},
        },
        "status": {
            "phase": "Running",
            "podIP": "10.1.0.7",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": ready},
            ],
            "containerStatuses": [
                {
                    "name": "api",
                    "image": "localhost/mc:1.1.0",
                    "restartCount": 1,
                    "state": state or {"running": {}},
                }
            ],
            **more,
        },
    }


def test_a_ready_pod() -> None:
    found = read_pods.pod(pod())
    assert found is not None
    assert (found.ready, found.terminating, found.serving, found.ip, found.restarts) == (
        True,
        False,
        True,
        "10.1.0.7",
        1,
    )
    assert found.created_at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert (found.waiting_reason, found.unschedulable) == ("", "")
    assert found.running


def test_a_pod_on_its_way_out() -> None:
    obj = pod()
    obj["metadata"]["deletionTimestamp"] = "2026-03-01T12:05:00Z"
    del obj["metadata"]["labels"][names.LABEL_SERVING]
    found = read_pods.pod(obj)
    assert found is not None
    assert found.terminating
    assert not found.serving


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"]
)
def test_a_pod_that_waits_for_something_that_will_not_come(reason: str) -> None:
    found = read_pods.pod(pod({"waiting": {"reason": reason, "message": "m" * 500}}, ready="False"))
    assert found is not None
    assert (found.ready, found.waiting_reason, found.image) == (False, reason, "localhost/mc:1.1.0")
    assert len(found.waiting_message) == 300


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_is_just_starting(reason: str) -> None:
    found = read_pods.pod(pod({"waiting": {"reason": reason}}, ready="False"))
    assert found is not None
    assert found.waiting_reason == ""


def test_an_init_container_counts_too() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    init = [{"name": "migrate", "image": "localhost/init:1", "restartCount": 4, "state": waiting}]
    found = read_pods.pod(pod(ready="False", initContainerStatuses=init))
    assert found is not None
    assert (found.restarts, found.waiting_reason, found.image) == (4, "CrashLoopBackOff", "localhost/init:1")


def test_a_pod_that_fits_no_node() -> None:
    message = "0/3 nodes are available: 3 Insufficient memory."
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    found = read_pods.pod(pod(conditions=conditions, containerStatuses=None, podIP=""))
    assert found is not None
    assert (found.unschedulable, found.ready) == (message, False)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_ended_is_none_of_the_colours(phase: str) -> None:
    assert read_pods.pod(pod(phase=phase)) is None


def test_a_pod_that_its_node_ended_is_kept_apart() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    evicted["spec"] = {"nodeName": "one"}
    found = read_pods.failed_pod(evicted)
    assert found is not None
    assert (found.component, found.revision, found.node) == ("api", "0a1b2c3d4e", "one")
    assert (found.reason, found.message) == ("Evicted", "The node was low on resource: memory.")
    assert read_pods.failed_pod(pod()) is None
    assert read_pods.failed_pod(pod(phase="Succeeded")) is None
    evicted["metadata"]["labels"] = {"app": "other"}
    assert read_pods.failed_pod(evicted) is None


def test_a_pod_that_was_told_to_go_is_no_eviction() -> None:
    """A container that SIGTERM ends with another code than 0 leaves its pod as Failed until it is gone."""
    drained = pod(phase="Failed")
    assert read_pods.failed_pod(drained) is None
    drained["status"]["reason"] = "Evicted"
    assert read_pods.failed_pod(drained) is not None
    drained["metadata"]["deletionTimestamp"] = "2026-03-01T12:05:00Z"
    assert read_pods.failed_pod(drained) is None


def test_why_a_container_ended_last_and_which_it_is() -> None:
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    calm = {"name": "proxy", "image": "localhost/proxy:1", "restartCount": 0, "state": {"running": {}}}
    ill = {"name": "api", "image": "localhost/mc:1.1.0", "restartCount": 2, "state": {"running": {}}}
    found = read_pods.pod(pod(containerStatuses=[calm, {**ill, "lastState": killed}]))
    assert found is not None
    assert (found.container, found.died_of, found.restarts) == ("api", "OOMKilled", 2)
    now = read_pods.pod(pod(containerStatuses=[calm, {**ill, "state": killed}]))
    assert now is not None
    assert now.died_of == "OOMKilled"
    healthy = read_pods.pod(pod(containerStatuses=[calm]))
    assert healthy is not None
    assert (healthy.container, healthy.died_of) == ("", "")


@pytest.mark.parametrize(("reason", "ran"), [("Error", True), ("StartError", False)])
def test_until_when_a_container_ran_last(reason: str, ran: bool) -> None:
    ended = {"terminated": {"reason": reason, "finishedAt": "2026-03-01T12:02:00Z"}}
    ill = {"name": "api", "image": "localhost/mc:1.1.0", "restartCount": 1, "lastState": ended}
    waiting = {"waiting": {"reason": "CreateContainerConfigError"}}
    found = read_pods.pod(pod(containerStatuses=[{**ill, "state": waiting}]))
    assert found is not None
    assert found.ended_at == (datetime(2026, 3, 1, 12, 2, tzinfo=UTC) if ran else None)


def test_since_when_a_pod_has_its_node() -> None:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:01:00Z"}
    found = read_pods.pod(pod(conditions=[placed]))
    assert found is not None
    assert found.placed_at == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    waiting = read_pods.pod(pod(conditions=[{**placed, "status": "False"}]))
    assert waiting is not None
    assert waiting.placed_at is None


def test_a_deployment_of_which_no_pods_are_taken() -> None:
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: one-colour",
        "lastTransitionTime": "2026-03-01T12:01:00Z",
    }
    found = read.workload(deployment(conditions=[refused]))
    assert found is not None
    assert found.refused == "exceeded quota: one-colour"
    assert found.refused_at == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    over = read.workload(deployment(conditions=[{**refused, "status": "False"}]))
    assert over is not None
    assert (over.refused, over.refused_at) == ("", None)


def test_a_pod_without_a_status_yet() -> None:
    obj = pod()
    del obj["status"]
    found = read_pods.pod(obj)
    assert found is not None
    assert not found.ready


def test_a_service_of_ours() -> None:
    found = read.service(
        {
            "metadata": {
                "name": "mc-api",
                "resourceVersion": "812",
                "labels": {names.LABEL_RELEASE: "mc", names.LABEL_ROLE: names.ROLE_SERVING},
                "annotations": {names.ANNOTATION_EPOCH: "7"},
                "managedFields": [
                    {"manager": "helm", "fieldsV1": {"f:spec": {"f:selector": {}}}},
                    {"manager": "maestro-conductor", "fieldsV1": {"f:spec": {"f:selector": {"f:a": {}}}}},
                    {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}},
                ],
            },
            "spec": {"selector": {"a": "b"}, "clusterIP": "10.96.0.12", "ports": [{"port": 80}]},
        }
    )
    assert (found.release, found.role, found.epoch, found.cluster_ip) == ("mc", "serving", 7, "10.96.0.12")
    assert found.managers == ("helm", "maestro-conductor")
    assert found.resource_version == "812"


@pytest.mark.parametrize("epoch", ["", "-1", "seven"])
def test_a_service_whose_epoch_cannot_be_read_is_to_be_claimed(epoch: str) -> None:
    metadata = {"name": "a", "resourceVersion": "1", "annotations": {names.ANNOTATION_EPOCH: epoch}}
    assert read.service({"metadata": metadata, "spec": {}}).epoch == -1


def test_a_headless_service_of_somebody_else() -> None:
    found = read.service({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"clusterIP": "None"}})
    assert (found.release, found.cluster_ip, dict(found.selector), found.ports) == ("", "", {}, ())


def endpoint(pod_name: str, **conditions: bool) -> Json:
    return {
        "addresses": ["10.1.0.7"],
        "targetRef": {"kind": "Pod", "name": pod_name},
        "conditions": conditions,
    }


def test_endpoints_over_all_slices_of_a_service() -> None:
    def slice_of(service: str, *endpoints: Json) -> Json:
        labels = {"kubernetes.io/service-name": service}
        return {"metadata": {"name": f"{service}-x", "labels": labels}, "endpoints": list(endpoints) or None}

    found = read.endpoints(
        [
            slice_of(
                "mc-api",
                endpoint("a", ready=True),
                endpoint("b", ready=False, serving=True, terminating=True),
            ),
            slice_of("mc-api", endpoint("c")),
            slice_of("mc-web"),
        ]
    )
    assert found == {"mc-api": (Endpoint("a", True), Endpoint("b", False), Endpoint("c", True))}


def test_a_recorded_revision() -> None:
    found = read.revision({"data": {"hash": "0a1b2c3d4e", "pinned": ["settings"], "spec": spec("1.1.0")}})
    assert found is not None
    assert (found.hash, found.version, found.pinned) == ("0a1b2c3d4e", "1.1.0", ("settings",))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        {"hash": "x", "spec": "y"},
        {"spec": spec("1.1.0")},
        {"hash": 1, "spec": spec("1.1.0")},
        {"hash": "x", "pinned": 3, "spec": spec("1.1.0")},
        {"hash": "x", "spec": {**spec("1.1.0"), "fromTheFuture": 1}},
    ],
)
def test_a_record_that_this_operator_cannot_read_is_left_alone(data: Any) -> None:
    assert read.revision({"data": data}) is None
