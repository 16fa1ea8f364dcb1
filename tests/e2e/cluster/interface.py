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


def chosen_way() -> str:
    """MC_CLUSTER, or kind where Docker answers, else the local way."""
    asked = os.environ.get("MC_CLUSTER", "")
    if asked and asked not in WAYS:
        raise ClusterError(f"MC_CLUSTER: {asked!r} is no way to a cluster; use one of {', '.join(WAYS)}")
    return asked or ("kind" if succeeds(["docker", "info"], timeout=10) else "local")


def select(instance: str | None = None) -> Cluster:
    """The cluster that the environment asks for."""
    name = instance or os.environ.get("MC_CLUSTER_INSTANCE", DEFAULT_INSTANCE)
    way = chosen_way()
    if way == "existing":
        return ExistingCluster()
    if way == "kind":
        return KindCluster(name)
    return LocalCluster(name)
