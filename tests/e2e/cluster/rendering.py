"""Pure functions that render the configuration of the cluster's programs."""

import json
from dataclasses import dataclass
from pathlib import Path

from cluster.network import DNS_ADDRESS

PAUSE_IMAGE = "localhost/pause:dev"
#: Where tests and demo install the operator.
AUDITED_NAMESPACE = "conductor-system"
CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True)
class NodeSettings:
    """What distinguishes one node from another."""

    instance: str
    name: str
    address: str
    pod_range: str
    run: Path
    data: Path
    cgroup: str
    ca_certificate: Path
    kubelet_certificate: Path
    kubelet_key: Path

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def cni_network(self) -> str:
        return f"maestro-conductor-{self.instance}-{self.name}"


def containerd_config(node: NodeSettings) -> str:
    """containerd 1.6, configuration version 2, everything in the node's own directories."""
    return f"""version = 2
root = "{node.data / "containerd"}"
state = "{node.run / "containerd"}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = "{node.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{node.data / "opt"}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a lower oom_score_adj is refused, and with it every sandbox.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{node.run / "runc"}"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node.run / "cni"}"
    max_conf_num = 1
"""


def cni_config(node: NodeSettings) -> str:
    """Pods as routed point-to-point links: every packet passes the node's translation rules, also pod to pod."""
    plugins = [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": str(node.run / "cni-addresses"),
                "ranges": [[{"subnet": node.pod_range}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ]
    document = {"cniVersion": "0.4.0", "name": node.cni_network, "plugins": plugins}
    return json.dumps(document, indent=2)


def kubelet_config(node: NodeSettings) -> str:
    """A kubelet that asks nothing of the machine: no swap rule, no eviction, no reserved resources."""
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(node.ca_certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(node.kubelet_certificate),
        "tlsPrivateKeyFile": str(node.kubelet_key),
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(node.run / "resolv.conf"),
        "podLogsDir": str(node.data / "pod-logs"),
        "volumePluginDir": str(node.data / "volume-plugins"),
        "maxPods": 240,
        # All of them, not the fifty largest: whoever comes with a kubeconfig alone reads them here.
        "nodeStatusMaxImages": -1,
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        "logging": {"verbosity": 1},
    }
    return json.dumps(document, indent=2)


def audit_policy() -> str:
    """What the operator's service accounts asked for, without bodies; nobody else costs anything."""
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["*"]},
            {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{AUDITED_NAMESPACE}"]},
        ],
    }
    return json.dumps(document, indent=2)
