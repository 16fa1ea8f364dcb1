"""The way with a cluster that the user has: its kubeconfig is used as it stands, and nothing of it is removed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import goparts
from cluster.addons import addons_ready, apply_addons, wait_for_addons
from cluster.commands import run, succeeds
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage
from cluster.paths import path_with

_NOT_OURS = (
    "component: {component} on {node} belongs to a cluster that is not ours, and is left alone; tests that stop"
    " programs of a node run on the local way (MC_CLUSTER=local, as root)"
)


class ExistingCluster:
    """A cluster reached through KUBECONFIG or ~/.kube/config.

    It must be able to run the images of the table under their names: whoever offers the cluster puts them there,
    by a registry mirror or by loading them onto the nodes.
    """

    def __init__(self, nodes_asked: int = 0) -> None:
        self.nodes_asked = nodes_asked

    @property
    def way(self) -> str:
        return "existing"

    @property
    def kubeconfig(self) -> Path:
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    def up(self) -> None:
        """Only Prometheus is added where it is missing; everything else has to be there."""
        if not self.kubeconfig.exists():
            raise ClusterError(
                f"KUBECONFIG: {self.kubeconfig} does not exist; point it at your cluster's kubeconfig"
            )
        if not self._answers():
            raise ClusterError(
                f"KUBECONFIG: no API server answers for {self.kubeconfig}; check it with kubectl"
            )
        if lacking := self._lacking_nodes():
            raise ClusterError(f"MC_NODES: {lacking}")
        if addons_ready(self.environment(), dns=False):
            apply_addons(self.environment(), dns=False)
        wait_for_addons(self.environment(), 180, dns=False)

    def down(self) -> None:
        """Nothing is removed: the cluster is the user's. Tests and demo remove what they made themselves."""

    def problems(self) -> list[str]:
        if not self._answers():
            return [f"the API server in {self.kubeconfig} does not answer"]
        if lacking := self._lacking_nodes():
            return [lacking]
        return addons_ready(self.environment(), dns=False)

    def _lacking_nodes(self) -> str:
        """What is missing where more nodes are asked for than there are; empty when there are enough."""
        if not self.nodes_asked:
            return ""
        nodes = len(self._nodes())
        return (
            f"the cluster has {nodes} node(s), and {self.nodes_asked} are asked for"
            if nodes < self.nodes_asked
            else ""
        )

    def _nodes(self) -> list[dict[str, Any]]:
        listed = json.loads(run(["kubectl", "get", "nodes", "-o", "json"], env=self.environment()))
        items: list[dict[str, Any]] = listed["items"]
        return items

    def _answers(self) -> bool:
        return succeeds(["kubectl", "get", "--raw", "/readyz"], env=self.environment(), timeout=15)

    def environment(self) -> Mapping[str, str]:
        tools = [goparts.build(goparts.PARTS[name]) for name in ("kubernetes", "helm")]
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": path_with(tools)}

    def load_images(self, images: Sequence[StoredImage]) -> list[str]:
        """Images cannot be sent to nodes that are not ours; they have to be there already."""
        held = self._held_by_every_node()
        lacking = [image.name for image in images if image.name not in held]
        if lacking:
            raise ClusterError(
                f"images: {', '.join(lacking)} are not on every node of the cluster in {self.kubeconfig};"
                " load them onto the nodes, or give the nodes a registry mirror for `localhost` and pull them once"
            )
        return []

    def _held_by_every_node(self) -> set[str]:
        """Kubelets list what they hold in the node's status."""
        held = [
            {known for image in node["status"].get("images", []) for known in image.get("names") or []}
            for node in self._nodes()
        ]
        return set.intersection(*held) if held else set()

    def stop_component(self, node: str, component: str, *, end: bool = False) -> None:
        raise ClusterError(_NOT_OURS.format(component=component, node=node))

    def start_component(self, node: str, component: str) -> None:
        raise ClusterError(_NOT_OURS.format(component=component, node=node))
