"""Where things lie: the cache of built parts, one running instance, the sources in the tree."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parents[2]
DEFAULT_INSTANCE = "default"
_INSTANCE = re.compile(r"[a-z][a-z0-9]{0,7}")


def cache_root() -> Path:
    """Everything that outlives a cluster: built parts, images, timings, logs of the last run."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "maestro-conductor"


@dataclass(frozen=True)
class InstancePaths:
    """The directories of one local cluster; two instances share none of them."""

    name: str

    def __post_init__(self) -> None:
        if not _INSTANCE.fullmatch(self.name):
            raise ClusterError(
                f"instance: {self.name!r} is no usable name; use 1 to 8 lower-case letters and digits,"
                " the first a letter (it becomes part of a link's name)"
            )

    @property
    def _suffix(self) -> str:
        return "" if self.name == DEFAULT_INSTANCE else f"-{self.name}"

    @property
    def run(self) -> Path:
        """Sockets, process ids, the namespace file, the kubeconfig: small and gone after a reboot."""
        return Path("/run") / f"maestro-conductor{self._suffix}"

    @property
    def data(self) -> Path:
        """Images, containers, etcd: too large for a /run that lives in memory."""
        return Path("/var/lib") / f"maestro-conductor{self._suffix}"

    @property
    def audit(self) -> Path:
        """What the API server was asked by the operator; read by tests while the cluster runs."""
        return self.data / "audit"

    @property
    def logs(self) -> Path:
        """Kept after `down`, because a failed start is read afterwards."""
        return cache_root() / "logs" / self.name

    @property
    def lock(self) -> Path:
        return cache_root() / "locks" / f"{self.name}.lock"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.run / "pki"


def path_with(directories: list[Path]) -> str:
    """PATH with these directories in front, each once."""
    old = os.environ.get("PATH", "").split(os.pathsep)
    new = [str(directory) for directory in directories]
    return os.pathsep.join(new + [entry for entry in old if entry and entry not in new])
