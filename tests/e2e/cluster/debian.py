"""The Debian packages that the local cluster stands on, installed without letting their services start."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster.commands import run, succeeds
from cluster.errors import ClusterError
from cluster.paths import cache_root
from cluster.progress import step
from cluster.waiting import file_lock

# Package and the file that proves it: asking for the file is quick, and another vendor's containerd counts too.
CLUSTER_PACKAGES = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iptables": "/usr/sbin/iptables",
    "conntrack": "/usr/sbin/conntrack",
    "iproute2": "/usr/sbin/ip",
    "openssl": "/usr/bin/openssl",
    "util-linux": "/usr/bin/nsenter",
}
IMAGE_PACKAGES = {
    "buildah": "/usr/bin/buildah",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "skopeo": "/usr/bin/skopeo",
}
# A newly installed daemon would also start at the next boot; the cluster runs its own copy instead.
_UNITS = {"containerd": "containerd"}

_POLICY = Path("/usr/sbin/policy-rc.d")
_REFUSE_ALL = "#!/bin/sh\nexit 101\n"


def missing(packages: Mapping[str, str]) -> list[str]:
    """The packages whose proof is not on this machine."""
    return [name for name, proof in packages.items() if not Path(proof).exists()]


def ensure(packages: Mapping[str, str]) -> None:
    """Install what is missing. Services of the new packages are not started, now or by us later."""
    lacking = missing(packages)
    if not lacking:
        return
    if os.geteuid() != 0:
        raise ClusterError(
            f"packages: {', '.join(lacking)} are missing; run as root, or apt-get install them"
        )
    with file_lock(cache_root() / "locks" / "apt.lock"), step(f"installing {' '.join(lacking)}", 60):
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        with _services_held():
            install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *lacking]
            if not succeeds(install, env=environment, timeout=900):
                # The lists of a fresh machine are empty or old; a second failure is shown.
                run(["apt-get", "update", "-q"], env=environment, timeout=300)
                run(install, env=environment, timeout=900)
        units = [_UNITS[name] for name in lacking if name in _UNITS]
        if units and Path("/run/systemd/system").exists():
            run(["systemctl", "disable", "--now", *units], timeout=60)


@contextmanager
def _services_held() -> Iterator[None]:
    """Debian starts a package's service at install unless policy-rc.d refuses; ours goes away again."""
    if _POLICY.exists():
        original = _POLICY.read_text()
        mode = stat.S_IMODE(_POLICY.stat().st_mode)
    else:
        original, mode = "", 0
    _POLICY.write_text(_REFUSE_ALL)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if mode:
            _POLICY.write_text(original)
            _POLICY.chmod(mode)
        else:
            _POLICY.unlink()
