"""Keys, certificates and kubeconfigs of a local cluster, made anew with openssl at each start."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.commands import run

_DAYS = "30"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Identity:
    """A certificate to be made: subject, names and what it may be used for."""

    name: str
    common_name: str
    organisation: str = ""
    alternative_names: tuple[str, ...] = ()
    usages: tuple[str, ...] = ("clientAuth",)

    @property
    def subject(self) -> str:
        organisation = f"/O={self.organisation}" if self.organisation else ""
        return f"{organisation}/CN={self.common_name}"


class Authority:
    """One certificate authority in a directory of files `<name>.crt` and `<name>.key`."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.name}.crt"

    @property
    def key(self) -> Path:
        return self.directory / f"{self.name}.key"

    def create(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        subject = f"/CN=maestro-conductor-{self.name}"
        argv = ["openssl", "req", "-x509", *_CURVE, "-days", _DAYS, "-subj", subject]
        argv += ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
        run([*argv, "-keyout", str(self.key), "-out", str(self.certificate)])

    def issue(self, identity: Identity) -> None:
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature,keyEncipherment",
            f"extendedKeyUsage={','.join(identity.usages)}",
        ]
        if identity.alternative_names:
            extensions.append(f"subjectAltName={','.join(identity.alternative_names)}")
        argv = ["openssl", "req", "-x509", *_CURVE, "-days", _DAYS, "-subj", identity.subject]
        argv += ["-CA", str(self.certificate), "-CAkey", str(self.key)]
        for extension in extensions:
            argv += ["-addext", extension]
        argv += ["-keyout", str(self.directory / f"{identity.name}.key")]
        run([*argv, "-out", str(self.directory / f"{identity.name}.crt")])


def control_plane_identities(address: str, service_address: str) -> Sequence[Identity]:
    """Who takes part in the control plane: the API server, its clients and the person with admin rights."""
    server_names = (
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local",
        "DNS:localhost",
        f"IP:{service_address}",
        f"IP:{address}",
        "IP:127.0.0.1",
    )
    return (
        Identity("apiserver", "kube-apiserver", alternative_names=server_names, usages=("serverAuth",)),
        Identity("apiserver-kubelet-client", "apiserver-kubelet-client", "system:masters"),
        Identity("admin", "admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("kube-proxy", "system:kube-proxy"),
    )


def kubelet_identity(node: str, address: str) -> Identity:
    """A node's kubelet, which is a client of the API server and a server to it."""
    return Identity(
        f"kubelet-{node}",
        f"system:node:{node}",
        "system:nodes",
        alternative_names=(f"DNS:{node}", f"IP:{address}"),
        usages=("clientAuth", "serverAuth"),
    )


def create_service_account_key(directory: Path) -> None:
    """The key pair that signs and proves service account tokens."""
    run(["openssl", "genrsa", "-out", str(directory / "sa.key"), "2048"])
    run(["openssl", "rsa", "-in", str(directory / "sa.key"), "-pubout", "-out", str(directory / "sa.pub")])


def kubeconfig(authority: Authority, identity_name: str, server: str) -> str:
    """A kubeconfig with everything inside, so that it can be copied elsewhere."""

    def encoded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    certificate = encoded(authority.directory / f"{identity_name}.crt")
    key = encoded(authority.directory / f"{identity_name}.key")
    return f"""apiVersion: v1
kind: Config
current-context: maestro-conductor
clusters:
- name: maestro-conductor
  cluster:
    server: {server}
    certificate-authority-data: {encoded(authority.certificate)}
contexts:
- name: maestro-conductor
  context: {{cluster: maestro-conductor, user: {identity_name}}}
users:
- name: {identity_name}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"""
