"""The way with a cluster that the user has: its kubeconfig is used as it stands, and nothing of it is removed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster import goparts
from cluster.addons import addons_ready, apply_addons, wait_for_addons
from cluster.commands import run, succeeds
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage
from cluster.paths import path_with


class ExistingCluster:
    """A cluster reached through KUBECONFIG or ~/.kube/config.

    It must be able to run the images of the table under their names: whoever offers the cluster puts them there,
    by a registry mirror or by loading them onto the nodes.
    """

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
        if addons_ready(self.environment(), dns=False):
            apply_addons(self.environment(), dns=False)
        wait_for_addons(self.environment(), 180, dns=False)

    def down(self) -> None:
        """Nothing is removed: the cluster is the user's. Tests and demo remove what they made themselves."""

    def problems(self) -> list[str]:
        if not self._answers():
            return [f"the API server in {self.kubeconfig} does not answer"]
        return addons_ready(self.environment(), dns=False)

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
        nodes = json.loads(run(["kubectl", "get", "nodes", "-o", "json"], env=self.environment()))["items"]
        held = [
            {known for image in node["status"].get("images", []) for known in image.get("names") or []}
            for node in nodes
        ]
        return set.intersection(*held) if held else set()
