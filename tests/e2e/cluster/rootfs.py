"""Base file systems of images, made by mmdebstrap from Debian packages and kept by the hash of their recipe.

The month is part of the recipe: it is how security updates come in.
"""

import datetime
import hashlib
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import debian
from cluster.commands import run, succeeds
from cluster.paths import cache_root
from cluster.progress import step
from cluster.waiting import file_lock

SUITE = "bookworm"
# Its alternative, usrmerge, converts a running system and brings all of Perl for that.
_ALWAYS = ("usr-is-merged",)
_LEFT_OUT = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
)
_KEPT = ("/usr/share/doc/*/copyright",)
# A user with a name: some programs, PostgreSQL among them, refuse to run as a bare number.
_NONROOT_USER = (
    "echo 'nonroot:x:65532:65532:nonroot:/nonexistent:/usr/sbin/nologin' >> \"$1/etc/passwd\"",
    "echo 'nonroot:x:65532:' >> \"$1/etc/group\"",
)
_NO_BUILD_TRACES = (
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/cache/debconf/*-old "$1"/var/log/*',
    'rm -f "$1"/etc/hostname "$1"/etc/resolv.conf; touch "$1"/etc/pip.conf',
)


@dataclass(frozen=True)
class RootFilesystem:
    """Packages on top of Debian's essential ones, and shell commands that remove what no one here needs."""

    name: str
    packages: tuple[str, ...]
    trims: tuple[str, ...] = ()
    usual_seconds: float = 60

    def hooks(self) -> tuple[str, ...]:
        return (*_NONROOT_USER, *self.trims, *_NO_BUILD_TRACES)


PYTHON = RootFilesystem("python", ("python3", "python3-venv", "ca-certificates", "tzdata"))
POSTGRES = RootFilesystem(
    "postgres",
    ("postgresql-15",),
    # Compiling queries to machine code brings 150 MB and nothing for short queries; the cluster that the package
    # creates is of no use, since each pod makes its own.
    trims=(
        'rm -rf "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/*/libz3* "$1"/usr/lib/postgresql/15/lib/bitcode',
        'rm -f "$1"/usr/lib/postgresql/15/lib/llvmjit*',
        'rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15',
    ),
    usual_seconds=80,
)


def recipe_key(base: RootFilesystem, month: str) -> str:
    """The content hash of everything that decides what is in the file system."""
    text = "\0".join((SUITE, month, base.name, *_ALWAYS, *base.packages, *base.hooks(), *_LEFT_OUT, *_KEPT))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def this_month() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m")


def archive(base: RootFilesystem) -> Path:
    """The tar file of the file system; made now if this recipe was not followed this month."""
    target = cache_root() / "rootfs" / f"{base.name}-{recipe_key(base, this_month())}.tar"
    if target.exists():
        return target
    debian.ensure(debian.IMAGE_PACKAGES)
    with file_lock(cache_root() / "locks" / f"rootfs-{base.name}.lock"):
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with step(f"making the {base.name} base file system", base.usual_seconds):
                _make(base, target)
            for older in target.parent.glob(f"{base.name}-*.tar"):
                if older != target:
                    older.unlink()
    return target


def _make(base: RootFilesystem, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=target.parent) as scratch:
        made = Path(scratch) / "rootfs.tar"
        argv = [
            "mmdebstrap",
            "--quiet",
            "--variant=essential",
            "--mode=root",
            f"--include={','.join(_ALWAYS + base.packages)}",
        ]
        argv += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
        argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        argv += [f"--dpkgopt=path-include={pattern}" for pattern in _KEPT]
        argv += [f"--aptopt={name} {shlex.quote(value)}" for name, value in _apt_proxies().items()]
        argv += [f"--customize-hook={hook}" for hook in base.hooks()]
        run([*argv, SUITE, str(made), *_sources()], timeout=900)
        made.rename(target)


def _sources() -> list[str]:
    """This machine's own Debian sources where it runs the same suite: its mirror is the one that it can reach."""
    release = Path("/etc/os-release").read_text()
    listed = [
        path
        for path in (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources"))
        if path.exists() and SUITE in path.read_text()
    ]
    return [str(path) for path in listed] if f"VERSION_CODENAME={SUITE}" in release else []


def _apt_proxies() -> Mapping[str, str]:
    """apt's proxies on this machine, by name of the setting; mmdebstrap does not read them itself."""
    if not succeeds(["apt-config", "--version"]):
        return {}
    found = {}
    for setting in ("Acquire::http::Proxy", "Acquire::https::Proxy"):
        value = run(["apt-config", "dump", "--format=%v%n", setting]).strip()
        if value:
            found[setting] = value
    return found
