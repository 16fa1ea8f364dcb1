"""The local way: a real Kubernetes on this machine without Docker, in a network namespace of its own."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import cgroups, debian, goparts, leftovers, loading
from cluster.addons import addons_ready, apply_addons, system_images, wait_for_addons
from cluster.commands import run, succeeds
from cluster.controlplane import ControlPlane
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage
from cluster.network import Link, free_link, link_exists, machine_ranges
from cluster.node import Node
from cluster.paths import DEFAULT_INSTANCE, InstancePaths, path_with
from cluster.progress import say, step
from cluster.waiting import file_lock

_TOOLS = ("kubernetes", "helm")


class LocalCluster:
    """One instance on this machine; instances share the caches and nothing else."""

    def __init__(self, instance: str = DEFAULT_INSTANCE) -> None:
        self.paths = InstancePaths(instance)
        self.node = Node(self.paths, 1)
        self.control_plane = ControlPlane(self.paths, self.node)

    @property
    def way(self) -> str:
        return "local"

    @property
    def nodes(self) -> list[Node]:
        return [self.node]

    def up(self) -> None:
        """Start it, unless it runs and is healthy; remains of a broken one are removed first."""
        if os.geteuid() != 0:
            raise ClusterError(
                f"user id: {os.geteuid()} may not make namespaces and control groups; run as root,"
                " or use MC_CLUSTER=existing with a kubeconfig"
            )
        debian.ensure(debian.CLUSTER_PACKAGES)
        binaries = goparts.build(goparts.PARTS["kubernetes"])
        goparts.build(goparts.PARTS["helm"])
        images = system_images()
        with file_lock(self.paths.lock):
            if not self.problems():
                say(f"instance {self.paths.name} is up and healthy already")
                return
            if leftovers.found(self):
                say(f"instance {self.paths.name}: removing what is left of an earlier run")
                self._stop()
            with step("starting the cluster", 25):
                self._start(binaries, images)

    def _start(self, binaries: Path, images: list[StoredImage]) -> None:
        if self.paths.logs.exists():
            shutil.rmtree(self.paths.logs)
        self.paths.logs.mkdir(parents=True)
        link = self._make_link()
        self.control_plane.create_identities(link)
        self.control_plane.start(link, binaries)
        self.node.start_containerd(link)
        with ThreadPoolExecutor(1) as background:
            loaded = background.submit(self._load_all, images)
            self.control_plane.wait_ready(binaries)
            # The kubelet finds its images there, else it would try to pull them and back off.
            loaded.result()
        server = self.control_plane.server(link)
        self.node.start_kubelet_and_proxy(link, binaries, self.control_plane.authority, server)
        apply_addons(self.environment())
        wait_for_addons(self.environment(), 120)
        problems = self.problems()
        if problems:
            raise ClusterError(
                f"not healthy after its start: {'; '.join(problems)} (logs: {self.paths.logs})"
            )

    def _make_link(self) -> Link:
        self.paths.run.mkdir(parents=True, exist_ok=True)
        # Two instances that start at once would otherwise choose the same free range.
        with file_lock(self.paths.lock.with_name("links.lock")):
            link = free_link(self.paths.name, machine_ranges())
            self.node.prepare(link)
        return link

    def _load_all(self, images: list[StoredImage]) -> None:
        self.node.wait_containerd()
        self.load_images(images)

    def down(self) -> None:
        """Stop and remove everything, then prove it."""
        with file_lock(self.paths.lock), step("stopping the cluster", 4):
            outside = [trace for node in self.nodes for trace in node.traces()]
            self._stop()
            left = leftovers.found(self) + [f"file {trace}" for trace in outside if trace.exists()]
        if left:
            raise ClusterError(f"down: still there after everything was stopped: {'; '.join(left)}")

    def _stop(self) -> None:
        # The kubelet goes first, so that nothing that is ended below is started anew.
        self.node.daemon("kubelet").stop()
        self.control_plane.stop()
        for node in self.nodes:
            node.stop()
        name = free_link(self.paths.name, []).machine_name
        if link_exists(name):
            run(["ip", "link", "delete", name])
        for directory in (self.paths.run, self.paths.data):
            if directory.exists():
                shutil.rmtree(directory)

    def problems(self) -> list[str]:
        names = self.control_plane.daemon_names() + self.node.daemon_names()
        stopped = [name for name in names if not self.node.daemon(name).pid()]
        if stopped:
            return [f"not running: {', '.join(stopped)}"]
        if not succeeds(["kubectl", "get", "--raw", "/readyz"], env=self.environment(), timeout=10):
            return ["the API server does not answer /readyz"]
        try:
            node = json.loads(
                run(["kubectl", "get", "node", self.node.name, "-o", "json"], env=self.environment())
            )
        except ClusterError as absent:
            return [f"node {self.node.name}: {absent}"]
        ready = [
            c for c in node["status"].get("conditions", []) if c["type"] == "Ready" and c["status"] == "True"
        ]
        if not ready:
            return [f"node {self.node.name} is not ready"]
        return addons_ready(self.environment())

    def environment(self) -> Mapping[str, str]:
        tools = [goparts.build(goparts.PARTS[name]) for name in _TOOLS]
        return {"KUBECONFIG": str(self.paths.kubeconfig), "PATH": path_with(tools)}

    def load_images(self, images: Sequence[StoredImage]) -> list[str]:
        sent = [name for node in self.nodes for name in loading.load(node.socket, images)]
        return list(dict.fromkeys(sent))

    def control_groups(self) -> list[Path]:
        return [group for node in self.nodes for group in cgroups.existing(node.cgroup)]
