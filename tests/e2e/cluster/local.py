"""The local way: a real Kubernetes on this machine without Docker, in network namespaces of its own."""

import json
import os
import re
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
from cluster.mounts import mounted_below, unmount
from cluster.network import (
    MOST_NODES,
    Link,
    Switch,
    free_links,
    join_machine,
    link_exists,
    machine_link_name,
    machine_ranges,
    pod_range,
)
from cluster.node import Node, cgroup_prefix
from cluster.paths import DEFAULT_INSTANCE, InstancePaths, path_with
from cluster.processes import Daemon
from cluster.progress import say, step
from cluster.waiting import file_lock

_TOOLS = ("kubernetes", "helm")


class LocalCluster:
    """One instance on this machine; instances share the caches and nothing else.

    `nodes_asked` says with how many nodes it is to run; 0: with as many as it has, and one when it is made.
    """

    def __init__(self, instance: str = DEFAULT_INSTANCE, nodes_asked: int = 0) -> None:
        if not 0 <= nodes_asked <= MOST_NODES:
            raise ClusterError(f"nodes: {nodes_asked} is not possible here; use 1 to {MOST_NODES}")
        self.paths = InstancePaths(instance)
        self.nodes_asked = nodes_asked
        self.node = Node(self.paths, 1)
        self.control_plane = ControlPlane(self.paths, self.node)

    @property
    def way(self) -> str:
        return "local"

    @property
    def nodes(self) -> list[Node]:
        """Every node of which there is a trace on the machine; the first one in any case."""
        places = (*self.paths.run.glob("node-*"), *self.paths.data.glob("node-*"))
        found = {place.name for place in places} | cgroups.names(cgroup_prefix(self.paths))
        numbers = {int(match[1]) for name in found if (match := re.search(r"node-(\d+)$", name))}
        return [self.node, *(Node(self.paths, number) for number in sorted(numbers - {1}))]

    def up(self) -> None:
        """Start it, unless it runs and is healthy; remains of a broken one are removed first."""
        if os.geteuid() != 0:
            raise ClusterError(
                f"user id: {os.geteuid()} may not make namespaces and control groups; run as root,"
                " or use MC_CLUSTER=existing with a kubeconfig"
            )
        debian.ensure(debian.CLUSTER_PACKAGES)
        binaries = goparts.build(goparts.PARTS["kubernetes"])
        for name in ("etcd", "helm"):
            goparts.build(goparts.PARTS[name])
        images = system_images()
        with file_lock(self.paths.lock):
            if not self.problems():
                say(f"instance {self.paths.name} is up and healthy already")
                return
            if leftovers.found(self):
                say(f"instance {self.paths.name}: removing what is left of an earlier run")
                self._stop()
            several = f" with {self.nodes_asked} nodes" if self.nodes_asked > 1 else ""
            with step(f"starting the cluster{several}", 25):
                self._start(binaries, images)

    def _start(self, binaries: Path, images: list[StoredImage]) -> None:
        if self.paths.logs.exists():
            shutil.rmtree(self.paths.logs)
        self.paths.logs.mkdir(parents=True)
        links = self._make_network()
        first, server = links[self.node], self.control_plane.server(links[self.node])
        self.control_plane.create_identities(first)
        self.control_plane.start(first, binaries)
        for node, link in links.items():
            node.start_containerd(link)
        with ThreadPoolExecutor(1) as background:
            loaded = background.submit(self._load_all, images)
            self.control_plane.wait_ready(binaries)
            # The kubelets find their images there, else they would try to pull them and back off.
            loaded.result()
        authority = self.control_plane.authority
        self.node.start_kubelet_and_proxy(first, binaries, authority, server)
        apply_addons(self.environment())
        wait_for_addons(self.environment(), 120)
        # Later than the addons, which so are on the first node: a fault of another is one of that node alone.
        others = self.nodes[1:]
        for node in others:
            node.start_kubelet_and_proxy(links[node], binaries, authority, server)
        for node in others:
            self._wait_node(node)
        problems = self.problems()
        if problems:
            raise ClusterError(
                f"not healthy after its start: {'; '.join(problems)} (logs: {self.paths.logs})"
            )

    def _make_network(self) -> dict[Node, Link]:
        """All nodes' namespaces, joined to the machine and to each other."""
        self.paths.run.mkdir(parents=True, exist_ok=True)
        nodes = [Node(self.paths, number + 1) for number in range(self.nodes_asked or 1)]
        # Two instances that start at once would otherwise choose the same free range.
        with file_lock(self.paths.lock.with_name("links.lock")):
            links = dict(zip(nodes, free_links(self.paths.name, len(nodes), machine_ranges()), strict=True))
            for node in nodes:
                node.prepare()
            if len(nodes) == 1:
                join_machine(nodes[0].namespace, links[nodes[0]])
            else:
                switch = Switch(self.paths.run / "switch")
                switch.create(links[nodes[0]])
                for node in nodes:
                    switch.plug(node.namespace, node.name)
        for node, link in links.items():
            node.namespace.configure(link)
            for other, gateway in links.items():
                if other is not node:
                    node.namespace.route(pod_range(other.number), gateway.node_address)
        return links

    def _wait_node(self, node: Node) -> None:
        for condition in ("create", "condition=Ready"):
            argv = ["kubectl", "wait", f"--for={condition}", f"node/{node.name}", "--timeout=60s"]
            run(argv, env=self.environment(), timeout=70)

    def _load_all(self, images: list[StoredImage]) -> None:
        for node in self.nodes:
            node.wait_containerd()
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
        nodes = self.nodes
        # The kubelets go first, so that nothing that is ended below is started anew.
        for node in nodes:
            node.daemon("kubelet").stop()
        self.control_plane.stop()
        for node in nodes:
            node.stop()
        name = machine_link_name(self.paths.name)
        if link_exists(name):
            run(["ip", "link", "delete", name])
        for point in mounted_below([self.paths.run, self.paths.data]):
            unmount(point)
        for directory in (self.paths.run, self.paths.data):
            if directory.exists():
                shutil.rmtree(directory)

    def problems(self) -> list[str]:
        nodes = self.nodes
        stopped = [name for name in self.control_plane.daemon_names() if not self.node.daemon(name).pid()]
        stopped += [
            name if node is self.node else f"{name} of {node.name}"
            for node in nodes
            for name in node.daemon_names()
            if not node.daemon(name).pid()
        ]
        if stopped:
            return [f"not running: {', '.join(stopped)}"]
        if self.nodes_asked not in (0, len(nodes)):
            return [f"it runs {len(nodes)} node(s), and {self.nodes_asked} are asked for"]
        if not succeeds(["kubectl", "get", "--raw", "/readyz"], env=self.environment(), timeout=10):
            return ["the API server does not answer /readyz"]
        unready = [problem for node in nodes if (problem := self._node_problem(node))]
        return unready or addons_ready(self.environment())

    def _node_problem(self, node: Node) -> str:
        try:
            found = json.loads(
                run(["kubectl", "get", "node", node.name, "-o", "json"], env=self.environment())
            )
        except ClusterError as absent:
            return f"node {node.name}: {absent}"
        conditions = found["status"].get("conditions", [])
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return "" if ready else f"node {node.name} is not ready"

    def stop_component(self, node: str, component: str, *, end: bool = False) -> None:
        """Suspend a program of a node, or `end` it as a crash would; the rules that it wrote stay in force."""
        daemon = self._component(node, component)
        if end:
            daemon.end()
        else:
            daemon.suspend()

    def start_component(self, node: str, component: str) -> None:
        """Let a suspended program go on, or start an ended one again."""
        self._component(node, component).resume()

    def _component(self, node: str, component: str) -> Daemon:
        for known in self.nodes:
            names = known.daemon_names() + (self.control_plane.daemon_names() if known is self.node else [])
            if known.name == node and component in names:
                return known.daemon(component)
        raise ClusterError(f"component: there is no {component} on a node {node} of this cluster")

    def environment(self) -> Mapping[str, str]:
        tools = [goparts.build(goparts.PARTS[name]) for name in _TOOLS]
        return {"KUBECONFIG": str(self.paths.kubeconfig), "PATH": path_with(tools)}

    def load_images(self, images: Sequence[StoredImage]) -> list[str]:
        sent = [name for node in self.nodes for name in loading.load(node.socket, images)]
        return list(dict.fromkeys(sent))

    def control_groups(self) -> list[Path]:
        return [group for node in self.nodes for group in cgroups.existing(node.cgroup)]
