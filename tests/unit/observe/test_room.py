"""Room as it is read: what pods ask for, and what those on a node leave."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import ApiError, Object
from conductor.api import names
from conductor.api.spec import Component
from conductor.observe.room import RoomReader, asked


def resources(cpu: str = "", memory: str = "", limit: str = "") -> Object:
    asks = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"resources": {"requests": asks, **({"limits": {"cpu": limit}} if limit else {})}}


def pod(name: str, cpu: str, namespace: str = "prod", **more: Any) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "api"}, **more.pop("metadata", {})}
    spec = {"nodeName": "one", "containers": [resources(cpu)], **more.pop("spec", {})}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running", **more}}


def plane(*pods: Object, **node_spec: Any) -> MemoryKube:
    kube = MemoryKube()
    node = {
        "metadata": {"name": "one"},
        "spec": node_spec,
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    kube.put("Node", "", node)
    for item in pods:
        kube.put("Pod", item["metadata"]["namespace"], item)
    return kube


def component(**pod_spec: Any) -> Component:
    return Component.model_validate(
        {"name": "api", "template": {"spec": {"containers": [resources("250m")], **pod_spec}}}
    )


def test_sidecars_add_and_init_steps_are_measured_by_the_largest() -> None:
    spec = {
        "initContainers": [
            resources("1500m"),
            {**resources("100m"), "restartPolicy": "Always"},
            resources("200m", "1Gi"),
        ],
        "containers": [resources("500m", "256Mi"), resources(limit="250m")],
        "overhead": {"cpu": "10m"},
    }
    found = asked(spec)
    assert found.requests == {"cpu": Decimal("1.510"), "memory": Decimal(2**30)}
    assert found.limits == {"cpu": Decimal("0.260")}


def test_what_pods_on_a_node_asked_for_is_not_free() -> None:
    kube = plane(
        pod("a", "500m"),
        pod("b", "250m", namespace="other"),
        pod("c", "1", phase="Succeeded"),
        pod("d", "300m", metadata={"deletionTimestamp": "2026-03-01T00:00:00Z"}),
    )
    room = RoomReader(kube, lambda: 0.0).read("prod", [component()])
    assert room.nodes is not None
    [node] = room.nodes
    assert node.free["cpu"] == Decimal("0.950")
    assert node.free["pods"] == 107
    assert node.leaving == {"cpu": Decimal("0.300"), "pods": Decimal(1)}
    assert node.neighbours == ({"app": "api"},)
    assert room.asks["api"].requests == {"cpu": Decimal("0.250")}
    assert room.quotas == ()


def test_a_cordoned_node_offers_nothing() -> None:
    assert RoomReader(plane(unschedulable=True), lambda: 0.0).read("prod", []).nodes == ()


def test_who_may_be_pushed_off_is_no_hindrance() -> None:
    kube = plane(
        pod("batch", "1500m", spec={"priority": -10, "priorityClassName": "batch"}),
        pod("serving", "100m", spec={"priority": 1000, "priorityClassName": "serving"}),
    )
    room = RoomReader(kube, lambda: 0.0).read("prod", [component(priorityClassName="serving")])
    assert room.nodes is not None
    assert room.nodes[0].free["cpu"] == Decimal("1.900")


def test_one_reading_serves_who_comes_within_seconds() -> None:
    seconds = [0.0]
    kube = plane()
    reader = RoomReader(kube, lambda: seconds[0])
    reader.read("prod", [])
    kube.put("Pod", "prod", pod("late", "1"))
    for at, free in ((4.0, Decimal(2)), (6.0, Decimal(1))):
        seconds[0] = at
        nodes = reader.read("prod", []).nodes
        assert nodes is not None
        assert nodes[0].free["cpu"] == free


def test_rights_that_were_not_given_leave_it_unsaid() -> None:
    class Forbidden(MemoryKube):
        def list(self, kind: str, namespace: str | None, labels: str = "", fields: str = "") -> list[Object]:
            raise ApiError(403, "Forbidden", f"cannot list {kind}")

    room = RoomReader(Forbidden(), lambda: 0.0).read("prod", [component()])
    assert (room.quotas, room.nodes) == (None, None)


def test_the_second_colour_of_another_upgrade_goes_when_that_has_ended() -> None:
    def of(revision: str) -> dict[str, Any]:
        labels = {names.LABEL_RELEASE: "other", names.LABEL_COMPONENT: "web", names.LABEL_REVISION: revision}
        return {"metadata": {"labels": labels}}

    kube = plane(
        pod("blue-1", "500m", **of("a")),
        pod("blue-2", "500m", **of("a")),
        pod("green-1", "300m", **of("b")),
        pod("alone", "200m"),
    )
    nodes = RoomReader(kube, lambda: 0.0).read("prod", []).nodes
    assert nodes is not None
    assert nodes[0].free["cpu"] == Decimal("0.500")
    assert nodes[0].leaving == {"cpu": Decimal("0.300"), "pods": Decimal(1)}
