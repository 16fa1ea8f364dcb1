"""The Job that brings images onto nodes, as it is made."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from conductor.api import names
from conductor.api.spec import Colour, Component
from conductor.domain.pre_pull import pre_pull_job
from conductor.domain.revision import pod_labels
from conductor.domain.room import Node

FREE = {"cpu": Decimal(1), "memory": Decimal(2**30), "pods": Decimal(10)}


def node(name: str, **more: Any) -> Node:
    return Node(name, {"kubernetes.io/hostname": name}, **{"taints": (), "free": FREE, **more})


def job_of(nodes: list[Node], *, component: str = "api", **pod: Any) -> dict[str, Any] | None:
    pod.setdefault("containers", [{"name": "api", "image": "registry/api:1"}])
    Component.model_validate({"name": component, "template": {"spec": pod}})
    labels = pod_labels("mc", component, Colour.GREEN, "0123456789")
    deployment = {
        "metadata": {"name": "mc-api", "namespace": "prod", "labels": labels},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    return pre_pull_job(
        deployment, "registry/drain:1", nodes, upgrade="u12345678", at_most=timedelta(minutes=10)
    )


def made(nodes: list[Node], **pod: Any) -> dict[str, Any]:
    job = job_of(nodes, **pod)
    assert job is not None
    return job


def test_each_image_once_under_the_waiters_command() -> None:
    job = made(
        [node("one"), node("two")],
        initContainers=[{"name": "init", "image": "registry/init:1", "imagePullPolicy": "IfNotPresent"}],
        containers=[
            {"name": "api", "image": "registry/api:1", "command": ["/api"], "env": [{"name": "A"}]},
            {"name": "again", "image": "registry/api:1", "imagePullPolicy": "Always"},
            {"name": "baked-in", "image": "registry/local:1", "imagePullPolicy": "Never"},
        ],
    )
    pod = job["spec"]["template"]["spec"]
    pulled = [(item["image"], item.get("imagePullPolicy")) for item in pod["containers"]]
    assert pulled == [("registry/init:1", "IfNotPresent"), ("registry/api:1", "Always")]
    for item in pod["containers"]:
        assert item["command"][:2] == ["/maestro-drain/drain", "wait"]
        assert not {"env", "ports", "args", "lifecycle"} & item.keys()
        assert item["resources"]["requests"] == {"cpu": "1m", "memory": "8Mi"}
    [waiter] = pod["initContainers"]
    assert (waiter["image"], waiter["args"]) == ("registry/drain:1", ["install", "/maestro-drain/drain"])


def test_its_pods_have_no_right_and_no_label_of_the_candidates() -> None:
    job = made([node("one")], serviceAccountName="api", priorityClassName="high", hostNetwork=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "api", "for the imagePullSecrets that it brings"
    assert not {"priorityClassName", "hostNetwork"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    for item in [*pod["initContainers"], *pod["containers"]]:
        assert item["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert item["securityContext"]["allowPrivilegeEscalation"] is False
    selected = {names.LABEL_COMPONENT, names.LABEL_REVISION, names.LABEL_COLOUR, names.LABEL_SERVING}
    assert not selected & job["spec"]["template"]["metadata"]["labels"].keys()
    assert job["metadata"]["labels"][names.LABEL_REVISION] == "0123456789"


def test_one_pod_for_each_node_that_takes_the_template_and_has_room() -> None:
    tainted = node("three", taints=({"key": "gpu", "effect": "NoSchedule"},))
    full = node("four", free={**FREE, "pods": Decimal(0)})
    nodes = [node("one"), node("two"), tainted, full]
    job = made(nodes)
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (2, 2)
    rule = job["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    [term] = rule["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    tolerated = made(nodes, tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert tolerated["spec"]["completions"] == 3
    assert tolerated["spec"]["template"]["spec"]["tolerations"]
    asked = {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["two"]}
    ]}]}  # fmt: skip
    required = {"requiredDuringSchedulingIgnoredDuringExecution": asked}
    chosen = made(nodes, affinity={"nodeAffinity": required, "podAffinity": {"any": "thing"}})
    assert chosen["spec"]["completions"] == 1
    assert chosen["spec"]["template"]["spec"]["affinity"]["nodeAffinity"] == required
    assert "podAffinity" not in chosen["spec"]["template"]["spec"]["affinity"]


def test_where_nothing_is_to_be_pulled_there_is_no_job() -> None:
    assert job_of([]) is None
    assert job_of([node("one")], nodeSelector={"disk": "fast"}) is None
    never = [{"name": "api", "image": "registry/api:1", "imagePullPolicy": "Never"}]
    assert job_of([node("one")], containers=never) is None


def test_it_is_bounded_in_time_and_kept_for_longer_than_pods_may_take_to_come_up() -> None:
    job = made([node("one")])["spec"]
    assert job["activeDeadlineSeconds"] == 600
    assert job["ttlSecondsAfterFinished"] == 1200
    assert job["backoffLimit"] <= 3


def test_the_more_nodes_the_longer_each_pod_stays_so_that_it_keeps_the_others_off() -> None:
    def hold(count: int) -> str:
        pod = made([node(f"node-{number}") for number in range(count)])["spec"]["template"]["spec"]
        return str(pod["containers"][0]["command"][2])

    assert [hold(count) for count in (1, 100, 2000)] == ["-at-most=5s", "-at-most=15s", "-at-most=60s"]


def test_its_name_fits_a_label() -> None:
    long = "a" * 40
    name = made([node("one")], component=long)["metadata"]["name"]
    assert len(name) <= 63
    assert name != names.pre_pull_name("mc-" + "b" * 10, "u12345678", long)
    assert len(names.pre_pull_name("mc-" + "b" * 20, "u12345678", long)) <= 63
