"""The real etcd stands still, now and then or for longer than the operator's Lease lasts: docs/faults.md, part 1.

With it stands every write in the cluster, and every read that the API server does not answer by itself. Users'
requests need none of them. Needs the local way to a cluster: etcd is a process of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cluster.interface import Cluster, select
from harness.beside import LONG_PHASES, Again, InEachPhase
from harness.crash_runs import Lane, Telling
from harness.end_state import differences
from harness.kube import Kube
from harness.stories import PodinfoUpgrade
from harness.waiting import wait_condition

#: Longer than the operator's Lease lasts (10 s): it stops deciding, and goes on under a new epoch.
AWAY_SECONDS = 15.0
STANDS_SECONDS, RUNS_SECONDS = 2.0, 2.0
NODE_SECONDS = 90.0

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(900)]


class Etcd:
    """The etcd of the cluster under test."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster, self._node = cluster, node

    def stop(self) -> int:
        self._cluster.stop_component(self._node, "etcd")
        return 1

    def go_on(self) -> None:
        self._cluster.start_component(self._node, "etcd")


@pytest.fixture(scope="module")
def etcd(kube: Kube) -> Etcd:
    cluster = select()
    ours = cluster.environment()["KUBECONFIG"]
    if ours != os.environ["KUBECONFIG"]:
        pytest.fail(f"{os.environ['KUBECONFIG']} is not {ours}, the cluster whose etcd can be stopped")
    return Etcd(cluster, min(node["metadata"]["name"] for node in kube.objects("Node")))


@pytest.fixture(autouse=True)
def _etcd_goes_on(kube: Kube, etcd: Etcd) -> Iterator[None]:
    yield
    etcd.go_on()
    for node in kube.objects("Node"):
        wait_condition(kube, "Node", node["metadata"]["name"], "", "Ready", deadline_seconds=NODE_SECONDS)


def assert_as_without(made: Lane[PodinfoUpgrade], told: Telling) -> None:
    assert told.wrong == ()
    assert list(differences(made.undisturbed.end, told.end)) == []


def test_an_etcd_that_stands_still_half_of_the_time(podinfo_lane: Lane[PodinfoUpgrade], etcd: Etcd) -> None:
    undisturbed = podinfo_lane.undisturbed
    stalls = Again(etcd.stop, RUNS_SECONDS, etcd.go_on, STANDS_SECONDS)
    told = podinfo_lane.tell(beside=stalls)
    assert stalls.happened >= 5
    assert_as_without(podinfo_lane, told)
    assert told.seconds > undisturbed.seconds


def test_an_etcd_that_stands_still_in_each_phase(podinfo_lane: Lane[PodinfoUpgrade], etcd: Etcd) -> None:
    away = InEachPhase(podinfo_lane.story.release, etcd.stop, etcd.go_on, AWAY_SECONDS)
    told = podinfo_lane.tell(beside=away)
    assert set(away.met) >= LONG_PHASES
    assert_as_without(podinfo_lane, told)
