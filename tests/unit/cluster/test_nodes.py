"""Several nodes in one local cluster: their addresses, how they are found again, and stopping one's programs."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import cgroups, interface
from cluster.errors import ClusterError
from cluster.existing import ExistingCluster
from cluster.kind import KindCluster
from cluster.local import LocalCluster
from cluster.network import MOST_NODES, POD_RANGE, free_links, pod_range
from cluster.node import Node, cgroup_prefix
from cluster.paths import InstancePaths
from cluster.processes import Daemon, start_time
from cluster.waiting import wait_until


@pytest.fixture
def on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance's directories below the test's own, and a machine without control groups of ours."""
    monkeypatch.setattr(InstancePaths, "run", property(lambda _: tmp_path / "run"))
    monkeypatch.setattr(InstancePaths, "data", property(lambda _: tmp_path / "data"))
    monkeypatch.setattr(cgroups, "names", lambda _: set())
    return tmp_path


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon as `start` leaves it, without the namespace that only root can enter."""
    daemon = Daemon("sleeper", (), tmp_path / "sleeper.json", tmp_path / "sleeper.log", tmp_path / "netns")
    with subprocess.Popen(["sleep", "60"]) as process:
        record = {"pid": process.pid, "started": start_time(process.pid), "argv": [], "environment": {}}
        daemon.pid_file.write_text(json.dumps(record))
        yield daemon
        process.kill()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("nodes", range(1, MOST_NODES + 1))
def test_each_node_has_an_address_of_its_own_beside_the_machine(nodes: int) -> None:
    links = free_links("a", nodes, [])
    addresses = [links[0].machine_address, *(link.node_address for link in links)]
    assert len(set(addresses)) == nodes + 1
    (network,) = {ipaddress.ip_network(f"{link.node_address}/{link.prefix}", strict=False) for link in links}
    assert {ipaddress.ip_address(address) for address in addresses} <= set(network.hosts())


@pytest.mark.parametrize("nodes", [1, 2])
def test_links_avoid_every_range_of_the_machine(nodes: int) -> None:
    (first, *_) = free_links("a", nodes, [])
    taken = ipaddress.ip_network(f"{first.machine_address}/{first.prefix}", strict=False)
    assert isinstance(taken, ipaddress.IPv4Network)
    for link in free_links("a", nodes, [taken]):
        assert ipaddress.ip_address(link.node_address) not in taken
    with pytest.raises(ClusterError, match="taken by a route"):
        free_links("a", nodes, [ipaddress.IPv4Network("10.0.0.0/8")])


def test_nodes_share_no_address_directory_and_group() -> None:
    paths = InstancePaths("example")
    first, second = Node(paths, 1), Node(paths, 2)
    ranges = [ipaddress.ip_network(pod_range(node.number)) for node in (first, second)]
    assert not ranges[0].overlaps(ranges[1])
    assert all(set(each.hosts()) < set(ipaddress.ip_network(POD_RANGE).hosts()) for each in ranges)
    for one, other in ((first, second), (second, first)):
        assert {one.run, one.data, one.socket, one.namespace.file, one.cgroup}.isdisjoint(
            {other.run, other.data, other.socket, other.namespace.file, other.cgroup}
        )


def test_nodes_are_found_by_whatever_is_left_of_them(
    on_this_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = LocalCluster("example")
    assert [node.name for node in cluster.nodes] == ["node-1"]
    (cluster.paths.data / "node-2").mkdir(parents=True)
    assert [node.name for node in cluster.nodes] == ["node-1", "node-2"]
    monkeypatch.setattr(cgroups, "names", lambda prefix: {f"{prefix}3"})
    assert [node.name for node in cluster.nodes] == ["node-1", "node-2", "node-3"]
    assert cluster.nodes[2].cgroup == f"{cgroup_prefix(cluster.paths)}3"


def test_a_suspended_daemon_still_runs_and_goes_on(sleeper: Daemon) -> None:
    pid = sleeper.pid()
    sleeper.suspend()
    wait_until(lambda: state(pid) == "T", "stopped by a signal", 5)
    assert sleeper.pid() == pid
    sleeper.resume()
    wait_until(lambda: state(pid) == "S", "asleep again", 5)


def test_an_ended_daemon_keeps_what_it_was_started_with(sleeper: Daemon) -> None:
    sleeper.end()
    assert sleeper.pid() == 0
    assert json.loads(sleeper.pid_file.read_text())["argv"] == []
    with pytest.raises(ClusterError, match="does not run"):
        sleeper.suspend()


def test_a_component_that_a_node_does_not_have_is_refused(on_this_machine: Path) -> None:
    cluster = LocalCluster("example")
    for node, component in (("node-1", "kube-dns"), ("node-2", "kubelet"), ("node-2", "etcd")):
        with pytest.raises(ClusterError, match=f"no {component} on a node {node}"):
            cluster.stop_component(node, component)


@pytest.mark.parametrize("cluster", [KindCluster("example"), ExistingCluster()])
def test_other_ways_say_that_they_cannot_stop_a_component(cluster: interface.Cluster) -> None:
    for act in (cluster.stop_component, cluster.start_component):
        with pytest.raises(ClusterError, match="local way"):
            act("node-2", "kube-proxy")


def test_the_number_of_nodes_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_CLUSTER", "local")
    monkeypatch.setenv("MC_NODES", "2")
    cluster = interface.select("example")
    assert isinstance(cluster, LocalCluster)
    assert cluster.nodes_asked == 2
    monkeypatch.setenv("MC_NODES", "two")
    with pytest.raises(ClusterError, match="'two' is no number"):
        interface.select("example")
    monkeypatch.setenv("MC_NODES", "99")
    with pytest.raises(ClusterError, match=f"1 to {MOST_NODES}"):
        interface.select("example")
    monkeypatch.setenv("MC_CLUSTER", "kind")
    monkeypatch.setenv("MC_NODES", "2")
    with pytest.raises(ClusterError, match="not offered with kind"):
        interface.select("example")
