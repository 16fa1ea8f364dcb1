"""The network of a local cluster: one namespace without a way out, joined to the machine by one veth pair."""

import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cluster.commands import run
from cluster.errors import ClusterError
from cluster.mounts import is_mounted

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
POD_RANGE = "10.244.0.0/16"

_JOINING_RANGE = ipaddress.ip_network("10.213.0.0/16")
_NODE_LINK = "eth0"


@dataclass(frozen=True)
class Link:
    """The two ends of the veth pair between the machine and a node."""

    machine_name: str
    machine_address: str
    node_address: str


def free_link(instance: str, taken: list[ipaddress.IPv4Network]) -> Link:
    """The first small range of ours that meets no address or route of the machine."""
    for subnet in _JOINING_RANGE.subnets(new_prefix=30):
        if not any(subnet.overlaps(other) for other in taken):
            return Link(f"mcc-{instance}", str(subnet[1]), str(subnet[2]))
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

    def join(self, link: Link) -> None:
        """Make the pair, give both ends their address, and route the Service range into the node's end."""
        pair = ["ip", "link", "add", _NODE_LINK, "type", "veth", "peer", "name", link.machine_name]
        self.enter(*pair, "netns", str(os.getpid()))
        run(["ip", "address", "add", f"{link.machine_address}/30", "dev", link.machine_name])
        run(["ip", "link", "set", link.machine_name, "up"])
        self.enter("ip", "link", "set", "lo", "up")
        self.enter("ip", "address", "add", f"{link.node_address}/30", "dev", _NODE_LINK)
        self.enter("ip", "link", "set", _NODE_LINK, "up")
        # Without this route a local client gets "network is unreachable" before its packet can be translated.
        self.enter("ip", "route", "add", SERVICE_RANGE, "dev", _NODE_LINK)
        self.enter("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
