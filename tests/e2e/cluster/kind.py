"""The way with Docker: a kind cluster, made and removed by kind itself."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster import goparts
from cluster.addons import addons_ready, apply_addons, prometheus_image, wait_for_addons
from cluster.commands import run, succeeds
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage, write_archive
from cluster.paths import DEFAULT_INSTANCE, InstancePaths, cache_root, path_with
from cluster.progress import say, step
from cluster.waiting import file_lock

_NO_COMPONENTS = (
    "component: {component} on {node} cannot be stopped and started on a kind cluster; tests that need it"
    " run on the local way (MC_CLUSTER=local, as root)"
)


class KindCluster:
    """One kind cluster with one node; its kubeconfig lies in the cache, as kind needs no root."""

    def __init__(self, instance: str = DEFAULT_INSTANCE) -> None:
        self.paths = InstancePaths(instance)

    @property
    def way(self) -> str:
        return "kind"

    @property
    def name(self) -> str:
        suffix = "" if self.paths.name == DEFAULT_INSTANCE else f"-{self.paths.name}"
        return f"maestro-conductor{suffix}"

    @property
    def kubeconfig(self) -> Path:
        return cache_root() / "kind" / f"{self.name}.kubeconfig"

    def _kind(self, *argv: str | Path, timeout: float = 60) -> str:
        return run([goparts.binary(goparts.PARTS["kind"]), *argv], timeout=timeout)

    def up(self) -> None:
        if not succeeds(["docker", "info"], timeout=20):
            raise ClusterError("MC_CLUSTER: kind needs Docker, which does not answer; start it, or use local")
        with file_lock(self.paths.lock):
            if not self.problems():
                say(f"kind cluster {self.name} is up and healthy already")
                return
            if self.name in self._kind("get", "clusters").split():
                say(f"kind cluster {self.name}: removing the one that is not healthy")
                self._delete()
            with step(f"creating kind cluster {self.name}", 60):
                self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
                create = ["create", "cluster", "--name", self.name, "--wait", "120s"]
                self._kind(*create, "--kubeconfig", self.kubeconfig, timeout=600)
            self.load_images([prometheus_image()])
            apply_addons(self.environment(), dns=False)
            wait_for_addons(self.environment(), 180, dns=False)

    def down(self) -> None:
        with file_lock(self.paths.lock):
            self._delete()

    def _delete(self) -> None:
        self._kind("delete", "cluster", "--name", self.name, "--kubeconfig", self.kubeconfig, timeout=180)
        self.kubeconfig.unlink(missing_ok=True)

    def problems(self) -> list[str]:
        if not self.kubeconfig.exists():
            return [f"kind cluster {self.name} is not up"]
        if not succeeds(["kubectl", "get", "--raw", "/readyz"], env=self.environment(), timeout=10):
            return ["the API server does not answer /readyz"]
        return addons_ready(self.environment(), dns=False)

    def environment(self) -> Mapping[str, str]:
        tools = [goparts.build(goparts.PARTS[name]) for name in ("kubernetes", "helm")]
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": path_with(tools)}

    def load_images(self, images: Sequence[StoredImage]) -> list[str]:
        """Send whole images to every node, but for those that are listed there with their content already."""
        lacking = [image for image in images if not self._held(image)]
        for image in lacking:
            with tempfile.TemporaryDirectory(prefix="maestro-conductor-") as scratch:
                archive = Path(scratch) / "image.tar"
                with archive.open("wb") as target:
                    write_archive(image, target)
                self._kind("load", "image-archive", archive, "--name", self.name, timeout=300)
        return [image.name for image in lacking]

    def _held(self, image: StoredImage) -> bool:
        return all(image.manifest in self._listed(node, image.name) for node in self._nodes())

    def _nodes(self) -> list[str]:
        return self._kind("get", "nodes", "--name", self.name).split()

    def _listed(self, node: str, name: str) -> str:
        return run(["docker", "exec", node, "ctr", "-n", "k8s.io", "images", "ls", f"name=={name}"])

    def stop_component(self, node: str, component: str, *, end: bool = False) -> None:
        raise ClusterError(_NO_COMPONENTS.format(component=component, node=node))

    def start_component(self, node: str, component: str) -> None:
        raise ClusterError(_NO_COMPONENTS.format(component=component, node=node))
