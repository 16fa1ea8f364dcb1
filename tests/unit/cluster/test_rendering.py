"""Configuration of the cluster's programs, and the choices that are made without a cluster."""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.images import expand, known_names
from cluster.interface import chosen_way
from cluster.network import DNS_ADDRESS, SERVICE_RANGE
from cluster.paths import DEFAULT_INSTANCE, InstancePaths, path_with
from cluster.rendering import NodeSettings, audit_policy, cni_config, containerd_config, kubelet_config


@pytest.fixture
def node() -> NodeSettings:
    run, data = Path("/run/example/node-1"), Path("/var/lib/example/node-1")
    return NodeSettings(
        instance="example",
        name="node-1",
        address="10.213.0.2",
        pod_range="10.244.0.0/24",
        run=run,
        data=data,
        cgroup="example-node-1",
        ca_certificate=run / "ca.crt",
        kubelet_certificate=run / "kubelet.crt",
        kubelet_key=run / "kubelet.key",
    )


def paths_in(value: object) -> list[str]:
    """Every absolute path in a configuration."""
    if isinstance(value, dict):
        return [path for inner in value.values() for path in paths_in(inner)]
    if isinstance(value, list):
        return [path for inner in value for path in paths_in(inner)]
    return [value] if isinstance(value, str) and value.startswith("/") else []


def test_containerd_keeps_to_the_nodes_own_directories(node: NodeSettings) -> None:
    config = tomllib.loads(containerd_config(node))
    strange = [path for path in paths_in(config) if not path.startswith((f"{node.run}/", f"{node.data}/"))]
    assert strange == ["/usr/lib/cni"]
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["netns_mounts_under_state_dir"] is True


def test_the_kubelet_keeps_to_the_nodes_own_directories_and_group(node: NodeSettings) -> None:
    config = json.loads(kubelet_config(node))
    strange = [path for path in paths_in(config) if not path.startswith((f"{node.run}/", f"{node.data}/"))]
    assert strange == [f"/{node.cgroup}"]
    assert config["clusterDNS"] == [DNS_ADDRESS]
    assert config["authentication"]["anonymous"] == {"enabled": False}


def test_pods_get_addresses_of_their_node_and_nothing_is_masqueraded(node: NodeSettings) -> None:
    pods = json.loads(cni_config(node))["plugins"][0]
    assert pods["ipam"]["ranges"] == [[{"subnet": node.pod_range}]]
    assert pods["ipMasq"] is False


def test_the_dns_address_is_a_service_address() -> None:
    assert ipaddress.ip_address(DNS_ADDRESS) in ipaddress.ip_network(SERVICE_RANGE)


def test_instances_share_no_directory() -> None:
    default, other = InstancePaths(DEFAULT_INSTANCE), InstancePaths("other")
    assert default.run == Path("/run/maestro-conductor")
    assert {default.run, default.data, default.logs}.isdisjoint({other.run, other.data, other.logs})


@pytest.mark.parametrize("name", ["", "Upper", "toolonganame", "a/b", "1st", ".."])
def test_an_instance_name_that_could_harm_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="instance"):
        InstancePaths(name)


def test_an_unknown_way_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_CLUSTER", "minikube")
    with pytest.raises(ClusterError, match=r"'minikube'.*local, kind, existing"):
        chosen_way()


def test_tools_of_ours_come_first_in_path_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(["/tools", "/usr/bin"]))
    assert path_with([Path("/tools")]) == os.pathsep.join(["/tools", "/usr/bin"])


def test_a_name_without_tag_means_every_tag() -> None:
    assert expand(["podinfo"]) == [name for name in known_names() if name.startswith("podinfo:")]
    assert expand(["localhost/mc:1.0.0", "mc:1.0.0"]) == ["mc:1.0.0"]
    with pytest.raises(ClusterError, match="'nginx' is not in the table"):
        expand(["nginx"])


def test_the_audit_log_holds_the_operator_s_requests_and_no_bodies() -> None:
    policy = json.loads(audit_policy())
    discovery, operator = policy["rules"]
    assert discovery == {"level": "None", "nonResourceURLs": ["*"]}
    assert operator == {"level": "Metadata", "userGroups": ["system:serviceaccounts:conductor-system"]}
    assert policy["omitStages"] == ["RequestReceived"]


def test_the_audit_log_goes_with_the_cluster() -> None:
    paths = InstancePaths("example")
    assert paths.audit.is_relative_to(paths.data)
