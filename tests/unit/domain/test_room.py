"""Whether pods fit: arithmetic over quotas and nodes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from conductor.domain.room import (
    Amount,
    Lack,
    Need,
    Node,
    Quota,
    Room,
    expression_holds,
    node_lack,
    quota_lack,
)

MI = Decimal(2**20)


def node(name: str, cpu: str = "2", pods: int = 10, **more: Any) -> Node:
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    free = {"cpu": Decimal(cpu), "memory": 4096 * MI, "pods": Decimal(pods)}
    return Node(name, labels, more.pop("taints", ()), free, **more)


def need(pods: int = 3, cpu: str = "0.5", component: str = "api", **pod_spec: Any) -> Need:
    amount = Amount({"cpu": Decimal(cpu), "memory": 128 * MI}, {"memory": 256 * MI})
    template = {"metadata": {"labels": {"app": component}}, "spec": pod_spec}
    return Need(component, pods, amount, template)


def lacking(room: Room, needs: list[Need]) -> Lack | None:
    return quota_lack(room.quotas or (), needs) or node_lack(room.nodes, needs)


def lack(room: Room, *needs: Need) -> Lack:
    found = lacking(room, list(needs))
    assert found is not None
    return found


def test_what_fits_lacks_nothing() -> None:
    assert lacking(Room((), (node("one"), node("two", cpu="0.5"))), [need(pods=5)]) is None


def test_what_may_not_be_read_says_nothing() -> None:
    assert lacking(Room(), [need(pods=1000)]) is None


def test_pods_that_find_no_node_are_counted() -> None:
    found = lack(Room((), (node("one", cpu="1.2"), node("two", cpu="0.4"))), need(pods=3))
    assert not found.passing
    for word in (
        "spec.components[api]: 1 of 3 pods of 500m cpu and 128Mi memory find no node",
        "one 1200m cpu",
    ):
        assert word in found.says


def test_room_that_pods_on_their_way_out_hold_is_waited_for() -> None:
    leaving = {"cpu": Decimal(1), "memory": 128 * MI, "pods": Decimal(1)}
    assert lack(Room((), (node("one", cpu="0.5", leaving=leaving),)), need(pods=3)).passing
    assert not lack(Room((), (node("one", cpu="0.5", leaving=leaving),)), need(pods=4)).passing


def test_a_small_component_is_placed_after_the_large_one() -> None:
    both = (need(pods=2, cpu="0.2", component="edge"), need(pods=1, cpu="1.6"))
    assert lacking(Room((), (node("one"),)), list(both)) is None


def test_as_many_pods_as_a_node_takes() -> None:
    assert "find no node" in lack(Room((), (node("one", pods=2),)), need(cpu="0.01")).says


@pytest.mark.parametrize(
    ("taints", "tolerations", "fits"),
    [
        (({"key": "gpu", "value": "yes", "effect": "NoSchedule"},), [], False),
        (({"key": "gpu", "value": "yes", "effect": "PreferNoSchedule"},), [], True),
        (({"key": "gpu", "value": "yes", "effect": "NoSchedule"},), [{"key": "gpu", "value": "yes"}], True),
        (({"key": "gpu", "value": "yes", "effect": "NoSchedule"},), [{"key": "gpu", "value": "no"}], False),
        (({"key": "gpu", "effect": "NoExecute"},), [{"key": "gpu", "operator": "Exists"}], True),
        (({"key": "gpu", "effect": "NoExecute"},), [{"operator": "Exists"}], True),
        (({"key": "gpu", "effect": "NoExecute"},), [{"operator": "Exists", "effect": "NoSchedule"}], False),
    ],
)
def test_taints_keep_off_who_does_not_tolerate_them(taints: Any, tolerations: Any, fits: bool) -> None:
    found = lacking(Room((), (node("one", taints=taints),)), [need(pods=1, tolerations=tolerations)])
    assert (found is None) is fits


def test_a_selector_that_no_node_matches_names_its_mend() -> None:
    found = lack(Room((), (node("one"),)), need(nodeSelector={"disk": "ssd"}))
    assert (
        "nodeSelector, affinity or tolerations of the template let them run on none of 1 node(s)"
        in found.says
    )


def test_required_node_affinity_is_any_of_its_terms() -> None:
    zones = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in "ab"]
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": zones}}
    }
    nodes = (node("one", labels={"zone": "b"}), node("two", labels={"zone": "c"}))
    assert lacking(Room((), nodes), [need(pods=4, affinity=affinity)]) is None
    assert "1 of 5 pods" in lack(Room((), nodes), need(pods=5, affinity=affinity)).says


def apart(topology: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"topologyKey": topology, "labelSelector": {"matchLabels": {"app": "api"}}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_one_pod_a_node_needs_as_many_nodes_again_as_serve() -> None:
    """The trap of a blue/green upgrade: both colours carry the label that they keep apart from."""
    taken = tuple(node(name, neighbours=({"app": "api"},)) for name in ("one", "two"))
    free = tuple(node(name) for name in ("three", "four"))
    assert lacking(Room((), (*taken, *free)), [need(pods=2, affinity=apart())]) is None
    assert "1 of 2 pods" in lack(Room((), (*taken, free[0])), need(pods=2, affinity=apart())).says


def test_a_zone_is_taken_by_whoever_runs_in_it() -> None:
    nodes = (
        node("one", labels={"zone": "a"}, neighbours=({"app": "api"},)),
        node("two", labels={"zone": "a"}),
    )
    assert lacking(Room((), nodes), [need(pods=1, affinity=apart("zone"))]) is not None


@pytest.mark.parametrize(
    ("resource", "hard", "used", "word"),
    [
        ("requests.cpu", "2", "0.7", "need 1500m of requests.cpu, and ResourceQuota small leaves 1300m of 2"),
        ("cpu", "2", "1", "need 1500m of cpu"),
        ("limits.memory", str(1000 * MI), str(300 * MI), "need 768Mi of limits.memory"),
        ("pods", "5", "3", "need 3 of pods, and ResourceQuota small leaves 2 of 5"),
        ("count/pods", "5", "6", "leaves 0 of 5"),
    ],
)
def test_a_quota_that_is_too_small_is_named(resource: str, hard: str, used: str, word: str) -> None:
    quota = Quota("small", {resource: Decimal(hard)}, {resource: Decimal(used)})
    found = lack(Room((quota,), None), need())
    assert word in found.says
    assert not found.passing


def test_a_quota_that_is_just_enough() -> None:
    quota = Quota(
        "small", {"requests.cpu": Decimal(2), "services": Decimal(0)}, {"requests.cpu": Decimal("0.5")}
    )
    assert lacking(Room((quota,), None), [need()]) is None


@pytest.mark.parametrize(
    ("operator", "values", "holds"),
    [
        ("In", ["5"], True), ("NotIn", ["5"], False), ("Exists", [], True), ("DoesNotExist", [], False),
        ("Gt", ["4"], True), ("Lt", ["5"], False), ("Gt", [], False), ("Near", ["5"], False),
    ],
)  # fmt: skip
def test_requirements_mean_what_kubernetes_means(operator: str, values: list[str], holds: bool) -> None:
    assert expression_holds({"key": "size", "operator": operator, "values": values}, {"size": "5"}) is holds
