"""The network of a local cluster: namespaces without a way out, joined to the machine by one veth pair.

One node is joined directly. Several are plugged into a bridge, which lives in a namespace of its own, so that
whatever the machine's firewall does with bridged packets does not reach theirs.
"""

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.commands import run
from cluster.errors import ClusterError
from cluster.mounts import is_mounted

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
POD_RANGE = "10.244.0.0/16"
MOST_NODES = 4

_JOINING_RANGE = ipaddress.ip_network("10.213.0.0/16")
_NODE_LINK = "eth0"
_BRIDGE = "bridge"
_MACHINE_PORT = "machine"


@dataclass(frozen=True)
class Link:
    """One node's place in the network between the machine and its nodes."""

    machine_name: str
    machine_address: str
    node_address: str
    prefix: int


def machine_link_name(instance: str) -> str:
    """The machine's end of the one veth pair that an instance has there."""
    return f"mcc-{instance}"


def pod_range(number: int) -> str:
    """The pods of one node; nodes are counted from 1."""
    return f"10.244.{number - 1}.0/24"


def free_links(instance: str, nodes: int, taken: Sequence[ipaddress.IPv4Network]) -> list[Link]:
    """A place for each node in the first small range of ours that meets no address or route of the machine."""
    # Besides the nodes there are the machine, the range's own address and its broadcast address.
    prefix = 32 - (nodes + 2).bit_length()
    for subnet in _JOINING_RANGE.subnets(new_prefix=prefix):
        if not any(subnet.overlaps(other) for other in taken):
            name = machine_link_name(instance)
            return [Link(name, str(subnet[1]), str(subnet[2 + index]), prefix) for index in range(nodes)]
    raise ClusterError(
        f"network: every range in {_JOINING_RANGE} is taken by a route of this machine; remove one"
    )


def machine_ranges() -> list[ipaddress.IPv4Network]:
    """Every range that the machine has an address in or a route to, but for the default route."""
    found = []
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"])):
        destination = route.get("dst", "default")
        if destination != "default":
            found.append(ipaddress.IPv4Network(destination, strict=False))
    return found


def link_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


class NetworkNamespace:
    """Held by a bind mount on a file of ours, so that /run/netns is not touched; it ends with that mount."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def exists(self) -> bool:
        return is_mounted(self.file)

    def create(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.touch()
        run(["unshare", f"--net={self.file}", "true"])

    def enter(self, *argv: str) -> str:
        # `ip netns exec` would remount /sys and hide /sys/fs/cgroup from what runs in it.
        return run(["nsenter", f"--net={self.file}", "--", *argv])

    def pair(self, inside: str, outside: str, namespace: str) -> None:
        """Make a veth pair with its other end in the namespace of that file or process id."""
        self.enter("ip", "link", "add", inside, "type", "veth", "peer", "name", outside, "netns", namespace)

    def configure(self, link: Link) -> None:
        """Give the node's end its address, and route the Service range into it."""
        self.enter("ip", "link", "set", "lo", "up")
        self.enter("ip", "address", "add", f"{link.node_address}/{link.prefix}", "dev", _NODE_LINK)
        self.enter("ip", "link", "set", _NODE_LINK, "up")
        # Without this route a local client gets "network is unreachable" before its packet can be translated.
        self.enter("ip", "route", "add", SERVICE_RANGE, "dev", _NODE_LINK)
        self.enter("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def route(self, destination: str, gateway: str) -> None:
        self.enter("ip", "route", "add", destination, "via", gateway)


def join_machine(namespace: NetworkNamespace, link: Link, inside: str = _NODE_LINK) -> None:
    """The one veth pair between the machine and an instance."""
    namespace.pair(inside, link.machine_name, str(os.getpid()))
    run(["ip", "address", "add", f"{link.machine_address}/{link.prefix}", "dev", link.machine_name])
    run(["ip", "link", "set", link.machine_name, "up"])


class Switch:
    """The bridge between the machine and several nodes."""

    def __init__(self, file: Path) -> None:
        self.namespace = NetworkNamespace(file)

    def create(self, link: Link) -> None:
        """Make the bridge and join it to the machine."""
        self.namespace.create()
        self.namespace.enter("ip", "link", "add", _BRIDGE, "type", "bridge")
        self.namespace.enter("ip", "link", "set", _BRIDGE, "up")
        # Where the kernel filters what is bridged, a bridge that only forwards must not track connections.
        self.namespace.enter(
            "sh", "-c", "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 0 > $f"
        )
        join_machine(self.namespace, link, _MACHINE_PORT)
        self._add(_MACHINE_PORT)

    def plug(self, node: NetworkNamespace, port: str) -> None:
        """Join a node's namespace to the bridge."""
        node.pair(_NODE_LINK, port, str(self.namespace.file))
        self._add(port)

    def _add(self, port: str) -> None:
        self.namespace.enter("ip", "link", "set", port, "master", _BRIDGE, "up")
