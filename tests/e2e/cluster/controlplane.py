"""etcd, API server, controller manager and scheduler of a local cluster, on its first node."""

from dataclasses import dataclass
from pathlib import Path

from cluster import goparts
from cluster.commands import succeeds
from cluster.network import API_SERVICE_ADDRESS, SERVICE_RANGE, Link
from cluster.node import Node
from cluster.paths import InstancePaths
from cluster.pki import Authority, Identity, control_plane_identities, create_service_account_key, kubeconfig
from cluster.processes import Daemon
from cluster.rendering import audit_policy

_ETCD = "http://127.0.0.1:2379"
_PORT = 6443
#: Room for a whole e2e run several times over; what is older is lost rather than the disk filled.
_AUDIT_FILE_MEGABYTES = 100
_AUDIT_FILES = 4


@dataclass(frozen=True)
class ControlPlane:
    """The daemons of the control plane; they live in the first node's network namespace."""

    paths: InstancePaths
    node: Node

    @property
    def authority(self) -> Authority:
        return Authority(self.paths.pki)

    @property
    def front_proxy(self) -> Authority:
        return Authority(self.paths.pki, "front-proxy-ca")

    def server(self, link: Link) -> str:
        return f"https://{link.node_address}:{_PORT}"

    def create_identities(self, link: Link) -> None:
        """Certificates, keys and kubeconfigs; the admin's lies where users look for it."""
        self.authority.create()
        self.front_proxy.create()
        self.front_proxy.issue(Identity("front-proxy-client", "front-proxy-client"))
        for identity in control_plane_identities(link.node_address, API_SERVICE_ADDRESS):
            self.authority.issue(identity)
        create_service_account_key(self.paths.pki)
        for name in ("controller-manager", "scheduler"):
            self._kubeconfig_of(name).write_text(kubeconfig(self.authority, name, self.server(link)))
        self.paths.kubeconfig.touch(mode=0o600)
        self.paths.kubeconfig.write_text(kubeconfig(self.authority, "admin", self.server(link)))

    def _kubeconfig_of(self, name: str) -> Path:
        return self.paths.pki / f"{name}.kubeconfig"

    def start(self, link: Link, binaries: Path) -> None:
        """Start all four at once: each waits by itself for the one below it."""
        data = self.paths.data / "etcd"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.node.daemon(
            "etcd",
            str(goparts.binary(goparts.PARTS["etcd"])),
            f"--data-dir={data}",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--auto-compaction-retention=1h",
        ).start()
        self.node.daemon(
            "kube-apiserver", str(binaries / "kube-apiserver"), *self._api_server_flags(link)
        ).start()
        self.node.daemon(
            "kube-controller-manager",
            str(binaries / "kube-controller-manager"),
            f"--kubeconfig={self._kubeconfig_of('controller-manager')}",
            f"--service-account-private-key-file={self.paths.pki / 'sa.key'}",
            f"--root-ca-file={self.authority.certificate}",
            f"--cluster-signing-cert-file={self.authority.certificate}",
            f"--cluster-signing-key-file={self.authority.key}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ).start()
        self.node.daemon(
            "kube-scheduler",
            str(binaries / "kube-scheduler"),
            f"--kubeconfig={self._kubeconfig_of('scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ).start()

    def _api_server_flags(self, link: Link) -> list[str]:
        pki = self.paths.pki
        flags = [
            f"--etcd-servers={_ETCD}",
            f"--advertise-address={link.node_address}",
            f"--secure-port={_PORT}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={self.authority.certificate}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
            # The node's name resolves nowhere.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--requestheader-client-ca-file={self.front_proxy.certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
            "--profiling=false",
        ]
        return flags + self._audit_flags()

    def _audit_flags(self) -> list[str]:
        policy = self.paths.pki / "audit-policy.json"
        policy.write_text(audit_policy())
        self.paths.audit.mkdir(parents=True, exist_ok=True, mode=0o700)
        return [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.paths.audit / 'audit.log'}",
            f"--audit-log-maxsize={_AUDIT_FILE_MEGABYTES}",
            f"--audit-log-maxbackup={_AUDIT_FILES - 1}",
        ]

    def wait_ready(self, binaries: Path) -> None:
        argv = [str(binaries / "kubectl"), f"--kubeconfig={self.paths.kubeconfig}", "get", "--raw", "/readyz"]
        self.node.daemon("kube-apiserver").wait(lambda: succeeds(argv, timeout=5), 90)
        # On a busy machine the others give up waiting for it, as they would under a supervisor that starts them again.
        for daemon in self.daemons():
            daemon.resume()

    def daemon_names(self) -> list[str]:
        return ["kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"]

    def daemons(self) -> list[Daemon]:
        return [self.node.daemon(name) for name in self.daemon_names()]

    def stop(self) -> None:
        for daemon in self.daemons():
            daemon.stop()
