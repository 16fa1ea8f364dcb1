"""Go itself, on a machine that has none or an old one: Debian's Go fetches a newer one as a Go module.

The module's sum is checked against the checksum database like any other's; it stays in Go's module cache.
"""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from cluster import debian
from cluster.commands import run
from cluster.errors import ClusterError
from cluster.paths import cache_root, path_with
from cluster.progress import step
from cluster.waiting import file_lock

_VERSION = "go1.26.8"
#: Since then Go fetches by itself whatever newer Go a module asks for.
_FETCHES_ITSELF = (1, 21)
_DEBIAN_PACKAGES = {"golang-go": "/usr/bin/go", "ca-certificates": "/etc/ssl/certs/ca-certificates.crt"}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def ensure() -> None:
    """Put a Go that will do into PATH; where there is none, as root on Debian, get it."""
    if _will_do(shutil.which("go")):
        return
    link = cache_root() / "go" / _VERSION
    with file_lock(cache_root() / "locks" / "go.lock"):
        if not (link / "bin" / "go").exists():
            _fetch(link)
    os.environ["PATH"] = path_with([link / "bin"])


def _will_do(go: str | None) -> bool:
    if go is None:
        return False
    # Asked in a folder without a module, and told not to fetch another: this is about what is installed.
    said = run([go, "version"], cwd=Path("/"), env={"GOTOOLCHAIN": "local"})
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= _FETCHES_ITSELF


def _fetch(link: Path) -> None:
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise ClusterError(
            f"machine: {machine} has no Go to fetch here; install {_VERSION} or newer yourself"
        )
    debian.ensure(_DEBIAN_PACKAGES)
    module = f"golang.org/toolchain@v0.0.1-{_VERSION}.linux-{_MACHINES[machine]}"
    with step(f"fetching {_VERSION}", 30), tempfile.TemporaryDirectory(prefix="go-") as nowhere:
        said = run(
            [_DEBIAN_PACKAGES["golang-go"], "mod", "download", "-json", module],
            cwd=Path(nowhere),
            timeout=600,
        )
    directory = Path(json.loads(said)["Dir"])
    # A module's files are never executable.
    for program in (*directory.glob("bin/*"), *directory.glob("pkg/tool/*/*")):
        program.chmod(0o755)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(directory)
