"""Asking the nodes: rounds that releases share, what a node that stands still looks like, ways that are closed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.clock import wall_clock
from conductor.adapters.kube import ApiError, Object, Page
from conductor.adapters.node_path import AnotherReplicaError, Rounds
from conductor.api import names
from conductor.runtime.node_proof import NodeProof, Place
from conductor.runtime.turns import Key

PLACE = Place("system", "conductor-nodes", "conductor-1", "uid-1", "10.0.0.5")
NODE_PORT = 30123
MC, SHOP = ("prod", "mc"), ("prod", "shop")


class Nodes(MemoryKube):
    """Lists in pages, as a large cluster needs it."""

    def pages(self, kind: str, namespace: str | None, labels: str = "", size: int = 50) -> Iterator[Page]:
        for item in self.list(kind, namespace, labels):
            yield Page([item], "1")


class Network(Rounds):
    """Nodes' proxies on a MemoryKube: each has rules of its own and takes the slice over unless it stands still."""

    def __init__(self, kube: MemoryKube) -> None:
        super().__init__()
        self._kube = kube
        self._round_of_port: dict[int, int] = {}
        self.rules: dict[str, int] = {}
        self.still: set[str] = set()
        self.cut_off: set[str] = set()

    def open(self, number: int) -> int:
        port = 40_000 + number
        self._round_of_port[port] = number
        return port

    def reached(self, address: str, port: int) -> int:
        assert port == NODE_PORT
        if address in self.cut_off:
            raise TimeoutError("timed out")
        found = self._kube.get("EndpointSlice", PLACE.namespace, f"{PLACE.service}-{PLACE.pod}")
        if address not in self.still and found is not None:
            self.rules[address] = found["ports"][0]["port"]
        if address not in self.rules:
            raise ConnectionRefusedError(111, "Connection refused")
        return self._round_of_port[self.rules[address]]


@dataclass
class Rig:
    """A proof without its thread: tests take the steps."""

    kube: MemoryKube
    network: Network
    proof: NodeProof
    woken: list[Key]
    now: list[float] = field(default_factory=lambda: [0.0])
    leads: list[bool] = field(default_factory=lambda: [True])

    def after(self, seconds: float) -> float | None:
        self.now[0] += seconds
        return self.proof.step()

    def behind(self, key: Key) -> dict[str, str]:
        return {state.name: state.seen for state in self.proof.newest(key).nodes if not state.follows}


def node(number: int, **labels: str) -> Object:
    status = {
        "addresses": [
            {"type": "Hostname", "address": f"node-{number}"},
            {"type": "InternalIP", "address": f"fd00::{number}"},
            {"type": "InternalIP", "address": f"10.1.0.{number}"},
        ],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T00:00:00Z"}],
    }
    return {"kind": "Node", "metadata": {"name": f"node-{number}", "labels": labels}, "status": status}


@pytest.fixture
def rig() -> Iterator[Rig]:
    kube = Nodes()
    for number in (1, 2):
        kube.put("Node", "", node(number))
    service = {"metadata": {"name": PLACE.service}, "spec": {"ports": [{"nodePort": NODE_PORT}]}}
    kube.put("Service", PLACE.namespace, service)
    network, woken = Network(kube), list[Key]()
    now, leads = [0.0], [True]
    proof = NodeProof(
        kube,
        PLACE,
        woken.append,
        leads=lambda: leads[0],
        now=wall_clock,
        rounds=network,
        clock=lambda: now[0],
    )
    yield Rig(kube, network, proof, woken, now, leads)
    proof.close()


def slices_written(rig: Rig) -> int:
    return sum(write.kind == "EndpointSlice" for write in rig.kube.writes)


def test_nodes_that_follow_are_proven_by_one_write(rig: Rig) -> None:
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    sample = rig.proof.newest(MC)
    assert (sample.question, sample.usable) == ("u1/old", True)
    assert [(state.name, state.follows) for state in sample.nodes] == [("node-1", True), ("node-2", True)]
    assert rig.woken == [MC]
    assert rig.after(1) is None, "nothing is asked any more"
    assert slices_written(rig) == 1


def test_the_slice_leads_to_this_pod_and_goes_with_it(rig: Rig) -> None:
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    (found,) = rig.kube.list("EndpointSlice", PLACE.namespace)
    assert found["endpoints"][0]["addresses"] == [PLACE.address]
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == PLACE.service
    assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [PLACE.pod_uid]


def test_a_slice_that_is_there_already_or_was_deleted_is_led_here_again(rig: Rig) -> None:
    name = f"{PLACE.service}-{PLACE.pod}"
    rig.kube.put("EndpointSlice", PLACE.namespace, {"metadata": {"name": name}, "ports": [{"port": 1}]})
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    assert rig.behind(MC) == {}
    rig.kube.drop("EndpointSlice", PLACE.namespace, name)
    rig.proof.want(MC, "u2/old")
    rig.after(5)
    assert rig.proof.newest(MC).question == "u2/old"
    assert rig.behind(MC) == {}


def test_a_node_that_stands_still_is_named_until_it_follows(rig: Rig) -> None:
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    rig.network.still = {"10.1.0.2"}
    rig.proof.want(MC, "u2/old")
    rig.after(5)
    assert rig.behind(MC) == {"node-2": "still shows an earlier state"}
    for _ in range(20):
        assert rig.after(1) is not None
    assert rig.behind(MC) == {"node-2": "still shows an earlier state"}
    assert rig.woken == [MC, MC], "the same news again wakes nobody"
    rig.network.still.clear()
    rig.after(1)
    assert rig.behind(MC) == {}
    assert slices_written(rig) == 2


@pytest.mark.parametrize(
    ("fault", "seen"), [("still", "Connection refused"), ("cut_off", "no answer through it")]
)
def test_a_node_without_rules_or_without_answer_is_named(rig: Rig, fault: str, seen: str) -> None:
    getattr(rig.network, fault).add("10.1.0.2")
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    assert rig.behind(MC) == {"node-2": seen}


def test_what_was_reached_before_a_question_does_not_answer_it(rig: Rig) -> None:
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    rig.network.still = {"10.1.0.1", "10.1.0.2"}
    rig.proof.want(SHOP, "u9/old")
    rig.after(5)
    assert set(rig.behind(SHOP)) == {"node-1", "node-2"}
    assert rig.behind(MC) == {}


def test_releases_share_a_round_and_rounds_are_a_second_apart(rig: Rig) -> None:
    rig.proof.want(MC, "u1/old")
    rig.proof.want(SHOP, "u2/old")
    rig.after(0)
    assert slices_written(rig) == 1
    rig.proof.want(MC, "u3/old")
    rig.after(0.3)
    assert slices_written(rig) == 1
    assert rig.proof.newest(MC).question == "", "nothing is known of the new question yet"
    rig.after(0.8)
    assert slices_written(rig) == 2
    assert rig.proof.newest(MC).question == "u3/old"


def test_where_no_node_ever_answers_the_way_is_closed(rig: Rig) -> None:
    rig.network.cut_off = {"10.1.0.1", "10.1.0.2"}
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    assert rig.proof.newest(MC).usable, "too early to say"
    assert rig.proof.newest(MC).question == ""
    seldom = rig.after(6)
    assert not rig.proof.newest(MC).usable
    assert seldom is not None
    assert seldom >= 10
    rig.network.cut_off.clear()
    rig.after(30)
    assert rig.proof.newest(MC).usable


def test_nodes_that_answered_once_and_do_not_any_more_are_behind(rig: Rig) -> None:
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    rig.network.cut_off = {"10.1.0.1", "10.1.0.2"}
    rig.proof.want(MC, "u2/old")
    rig.after(60)
    assert rig.proof.newest(MC).usable
    assert set(rig.behind(MC)) == {"node-1", "node-2"}


@pytest.mark.parametrize(("status", "usable"), [(403, False), (0, True), (503, True), (410, True)])
def test_a_refusal_closes_the_way_and_silence_of_the_api_server_does_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, status: int, usable: bool
) -> None:
    def fail(*_: object) -> list[Object]:
        raise ApiError(status, "AsScripted", "nodes")

    monkeypatch.setattr(rig.kube, "list", fail)
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    assert rig.proof.newest(MC).usable is usable


def test_a_node_that_is_labelled_away_is_not_asked(rig: Rig) -> None:
    rig.kube.put("Node", "", node(2, **{names.LABEL_NODE_PROOF: names.NODE_PROOF_IGNORE}))
    rig.network.cut_off = {"10.1.0.2"}
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    assert [state.name for state in rig.proof.newest(MC).nodes] == ["node-1"]


def test_replicas_share_the_way_through_nodes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ended_at = itertools.cycle(["another", "another", "this one"])

    def reached(address: str, port: int) -> int:
        if next(ended_at) == "another":
            raise AnotherReplicaError
        return Network.reached(rig.network, address, port)

    monkeypatch.setattr(rig.network, "reached", reached)
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    assert rig.behind(MC) == {}


def test_who_does_not_lead_writes_nothing(rig: Rig) -> None:
    rig.leads[0] = False
    rig.proof.want(MC, "u1/old")
    assert rig.after(0) is not None, "it may lead again"
    assert slices_written(rig) == 0
    rig.leads[0] = True
    rig.after(1)
    assert rig.behind(MC) == {}
    assert slices_written(rig) == 1


def test_an_unready_node_tells_since_when(rig: Rig) -> None:
    away = node(2)
    away["status"]["conditions"][0]["status"] = "Unknown"
    rig.kube.put("Node", "", away)
    rig.proof.want(MC, "u1/old")
    rig.after(0)
    states = {state.name: state.unready_since for state in rig.proof.newest(MC).nodes}
    assert states["node-1"] is None
    assert states["node-2"] is not None
    assert states["node-2"].isoformat() == "2026-03-01T00:00:00+00:00"
