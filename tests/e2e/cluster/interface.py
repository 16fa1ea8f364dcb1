"""The interface of a cluster and the choice between the three ways; tests and demo know nothing beyond it."""

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from cluster.commands import succeeds
from cluster.errors import ClusterError
from cluster.existing import ExistingCluster
from cluster.imagestore import StoredImage
from cluster.kind import KindCluster
from cluster.local import LocalCluster
from cluster.paths import DEFAULT_INSTANCE

WAYS = ("local", "kind", "existing")


class Cluster(Protocol):
    """What every way offers."""

    @property
    def way(self) -> str:
        """local, kind or existing."""
        ...

    def up(self) -> None:
        """Make it run and healthy; a healthy one is kept as it is."""
        ...

    def down(self) -> None:
        """Remove every trace of it; a cluster that is not ours is left alone."""
        ...

    def problems(self) -> list[str]:
        """Why it cannot be used now, one sentence each; empty when it is healthy."""
        ...

    def environment(self) -> Mapping[str, str]:
        """KUBECONFIG and PATH under which kubectl and helm reach it."""
        ...

    def load_images(self, images: Sequence[StoredImage]) -> list[str]:
        """Make the images usable by pods under their names; answers the names of those that had to be sent."""
        ...

    def stop_component(self, node: str, component: str, *, end: bool = False) -> None:
        """Suspend a program of a node (kubelet, kube-proxy, containerd), or `end` it as a crash would.

        Raises ClusterError where the way to this cluster cannot do that.
        """
        ...

    def start_component(self, node: str, component: str) -> None:
        """Let a suspended program go on, or start an ended one again; one that runs is left alone."""
        ...


def chosen_way() -> str:
    """MC_CLUSTER, or kind where Docker answers, else the local way."""
    asked = os.environ.get("MC_CLUSTER", "")
    if asked and asked not in WAYS:
        raise ClusterError(f"MC_CLUSTER: {asked!r} is no way to a cluster; use one of {', '.join(WAYS)}")
    return asked or ("kind" if succeeds(["docker", "info"], timeout=10) else "local")


def nodes_asked() -> int:
    """MC_NODES; 0 where nothing is said."""
    asked = os.environ.get("MC_NODES", "") or "0"
    if not asked.isdecimal():
        raise ClusterError(f"MC_NODES: {asked!r} is no number of nodes")
    return int(asked)


def select(instance: str | None = None, nodes: int | None = None) -> Cluster:
    """The cluster that the environment asks for; `nodes` goes before MC_NODES."""
    name = instance or os.environ.get("MC_CLUSTER_INSTANCE", DEFAULT_INSTANCE)
    asked = nodes_asked() if nodes is None else nodes
    way = chosen_way()
    if way == "existing":
        return ExistingCluster(asked)
    if way == "kind":
        if asked > 1:
            raise ClusterError(
                f"MC_NODES: {asked} nodes are not offered with kind; use MC_CLUSTER=local as root, or"
                " MC_CLUSTER=existing with a cluster that has them"
            )
        return KindCluster(name)
    return LocalCluster(name, asked)
