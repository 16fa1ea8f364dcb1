"""One node of a local cluster: its namespace, containerd, kubelet and kube-proxy, and everything they leave behind."""

import os
import shutil
import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cluster import cgroups, traces
from cluster.commands import succeeds
from cluster.mounts import mounted_below, unmount
from cluster.network import POD_RANGE, Link, NetworkNamespace, pod_range
from cluster.paths import InstancePaths
from cluster.pki import Authority, kubeconfig, kubelet_identity
from cluster.processes import Daemon, kill_processes, signal_processes
from cluster.rendering import NodeSettings, cni_config, containerd_config, kubelet_config
from cluster.waiting import wait_until


def cgroup_prefix(paths: InstancePaths) -> str:
    """How the names of the instance's control groups begin; the node's number follows."""
    return f"maestro-conductor-{paths.name}-node-"


@dataclass(frozen=True)
class Node:
    """A node is known by its instance and number; a second one differs in ranges and directories only."""

    paths: InstancePaths
    number: int

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def run(self) -> Path:
        return self.paths.run / self.name

    @property
    def data(self) -> Path:
        return self.paths.data / self.name

    @property
    def cgroup(self) -> str:
        return f"{cgroup_prefix(self.paths)}{self.number}"

    @cached_property
    def namespace(self) -> NetworkNamespace:
        return NetworkNamespace(self.run / "netns")

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    def settings(self, address: str) -> NodeSettings:
        return NodeSettings(
            instance=self.paths.name,
            name=self.name,
            address=address,
            pod_range=pod_range(self.number),
            run=self.run,
            data=self.data,
            cgroup=self.cgroup,
            ca_certificate=self.paths.pki / "ca.crt",
            kubelet_certificate=self.paths.pki / f"kubelet-{self.name}.crt",
            kubelet_key=self.paths.pki / f"kubelet-{self.name}.key",
        )

    def daemon(self, name: str, *argv: str) -> Daemon:
        """A daemon of this node by name; without arguments only good for asking and stopping."""
        return Daemon(
            name=name,
            argv=argv,
            pid_file=self.run / "pids" / f"{name}.json",
            log_file=self.paths.logs / f"{self.name}-{name}.log",
            network_namespace=self.namespace.file,
        )

    def prepare(self) -> None:
        """Namespace, control groups and directories; nothing runs yet, and nothing is joined."""
        for directory in (self.run / "cni", self.data / "kubelet"):
            directory.mkdir(parents=True, exist_ok=True)
        (self.run / "resolv.conf").write_text("")
        self.namespace.create()
        cgroups.create(self.cgroup)

    def start_containerd(self, link: Link) -> Daemon:
        settings = self.settings(link.node_address)
        config = self.run / "containerd.toml"
        config.write_text(containerd_config(settings))
        (self.run / "cni" / "10-pods.conflist").write_text(cni_config(settings))
        daemon = self.daemon("containerd", "/usr/bin/containerd", "--config", str(config))
        daemon.start()
        return daemon

    def wait_containerd(self) -> None:
        probe = ["ctr", "--address", str(self.socket), "version"]
        self.daemon("containerd").wait(lambda: self.socket.exists() and succeeds(probe), 30)

    def start_kubelet_and_proxy(self, link: Link, binaries: Path, authority: Authority, server: str) -> None:
        settings = self.settings(link.node_address)
        authority.issue(kubelet_identity(self.name, link.node_address))
        kubelet_kubeconfig = self.run / "kubelet.kubeconfig"
        kubelet_kubeconfig.write_text(kubeconfig(authority, f"kubelet-{self.name}", server))
        proxy_kubeconfig = self.run / "kube-proxy.kubeconfig"
        proxy_kubeconfig.write_text(kubeconfig(authority, "kube-proxy", server))
        config = self.run / "kubelet.json"
        config.write_text(kubelet_config(settings))
        self.daemon(
            "kubelet",
            str(binaries / "kubelet"),
            f"--config={config}",
            f"--kubeconfig={kubelet_kubeconfig}",
            f"--root-dir={self.data / 'kubelet'}",
            f"--hostname-override={self.name}",
            f"--node-ip={link.node_address}",
        ).start()
        self.daemon(
            "kube-proxy",
            str(binaries / "kube-proxy"),
            "--proxy-mode=iptables",
            f"--kubeconfig={proxy_kubeconfig}",
            f"--hostname-override={self.name}",
            f"--cluster-cidr={POD_RANGE}",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ).start()

    def daemon_names(self) -> list[str]:
        return ["kubelet", "kube-proxy", "containerd"]

    def stop(self) -> None:
        """End everything in the order in which nothing is started anew, then remove what was mounted."""
        self.daemon("kubelet").stop()
        self.daemon("kube-proxy").stop()
        cgroups.kill_members(self.cgroup)
        self.daemon("containerd").stop()
        # Shims outlive containerd, and their containers may have been started between the two steps above.
        cgroups.kill_members(self.cgroup)
        kill_processes(self.shims())
        self._end_namespace_members()
        cgroups.remove(self.cgroup)
        outside = self.traces()
        self._remove_directories()
        traces.remove(outside)

    def shims(self) -> list[int]:
        """Process ids of this containerd's shims, known by its socket on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                words = _command_line(entry)
                if words and "containerd-shim" in words[0] and str(self.socket) in words:
                    found.append(int(entry.name))
        return found

    def traces(self) -> list[Path]:
        return traces.of_node(self.run, self.data)

    def _end_namespace_members(self) -> None:
        if not self.namespace.exists():
            return
        inode = self.namespace.file.stat().st_ino

        def none_left() -> bool:
            pids = namespace_members(inode) - {os.getpid()}
            signal_processes(pids, signal.SIGKILL)
            return not pids

        wait_until(none_left, f"namespace of {self.name} without processes", 20, 0.05)

    def _remove_directories(self) -> None:
        for point in mounted_below([self.run, self.data]):
            unmount(point)
        for directory in (self.run, self.data):
            if directory.exists():
                shutil.rmtree(directory)


def namespace_members(inode: int) -> set[int]:
    """Every process in the network namespace with this inode."""
    members = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = str((entry / "ns" / "net").readlink())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                # Gone meanwhile, or a kernel thread of another owner.
                continue
            if target == f"net:[{inode}]":
                members.add(int(entry.name))
    return members


def _command_line(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
