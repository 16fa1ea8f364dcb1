"""Programs built from Go modules: the table of them, and the cache that builds each only once.

A part's `go.mod` and `go.sum` under `parts/` pin everything; the key of the cache is their content, the flags and
the Go version, so that a changed pin builds anew and nothing else does.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cluster import gotoolchain
from cluster.commands import run
from cluster.errors import ClusterError
from cluster.paths import PACKAGE, REPOSITORY, cache_root
from cluster.progress import step
from cluster.waiting import file_lock

_KUBERNETES_VERSION = "v1.35.4"
ARGO_ROLLOUTS = "github.com/argoproj/argo-rollouts"
KWOK = "sigs.k8s.io/kwok"
TRAEFIK = "github.com/traefik/traefik/v3"
GATEWAY_API = "sigs.k8s.io/gateway-api"


@dataclass(frozen=True)
class GoPart:
    """One module to build: which commands, with which linker flags, and how long that takes on two cores."""

    name: str
    packages: tuple[str, ...]
    usual_seconds: float
    linker_flags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    module: Path | None = None
    sources: tuple[Path, ...] = field(default=())

    @property
    def directory(self) -> Path:
        return self.module or PACKAGE / "parts" / self.name


def _kubernetes_flags() -> tuple[str, ...]:
    prefix = "-X k8s.io/component-base/version."
    major, minor, _ = _KUBERNETES_VERSION.removeprefix("v").split(".")
    return (
        f"{prefix}gitVersion={_KUBERNETES_VERSION}",
        f"{prefix}gitMajor={major}",
        f"{prefix}gitMinor={minor}",
        f"{prefix}gitTreeState=clean",
    )


_KUBERNETES_COMMANDS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

PARTS: Mapping[str, GoPart] = {
    part.name: part
    for part in (
        GoPart(
            "kubernetes",
            tuple(f"k8s.io/kubernetes/cmd/{command}" for command in _KUBERNETES_COMMANDS),
            520,
            linker_flags=_kubernetes_flags(),
        ),
        # Debian's is 3.4, from which the API server answers no consistent list out of its cache.
        GoPart("etcd", ("go.etcd.io/etcd/server/v3",), 60),
        GoPart("coredns", ("github.com/coredns/coredns",), 150),
        GoPart("kind", ("sigs.k8s.io/kind",), 20),
        GoPart("pause", (".",), 5, sources=(PACKAGE / "parts" / "pause" / "main.go",)),
        GoPart("helm", ("helm.sh/helm/v4/cmd/helm",), 60),
        GoPart(
            "prometheus",
            ("github.com/prometheus/prometheus/cmd/prometheus",),
            120,
            tags=("remove_all_sd", "enable_kubernetes_sd"),
        ),
        # For `make bench-scale` alone: pods without cost, and a peer to compare with.
        GoPart("kwok", (f"{KWOK}/cmd/kwok",), 150),
        GoPart("argo-rollouts", (f"{ARGO_ROLLOUTS}/cmd/rollouts-controller",), 300),
        # For `make test-gateway` alone: a Gateway with a real data plane.
        GoPart(
            "traefik",
            (f"{TRAEFIK}/cmd/traefik",),
            240,
            linker_flags=(f"-X {TRAEFIK}/pkg/version.Version=3.6.12",),
        ),
    )
}


def podinfo(version: str) -> GoPart:
    """podinfo under a version of our choice: it answers with it, which is all that an upgrade must change."""
    return GoPart(
        f"podinfo-{version}",
        ("github.com/stefanprodan/podinfo/cmd/podinfo",),
        45,
        linker_flags=(f"-X github.com/stefanprodan/podinfo/pkg/version.VERSION={version}",),
        module=PACKAGE / "parts" / "podinfo",
    )


def load_generator() -> GoPart:
    """The load generator of bench/load; its own sources are part of the key."""
    module = REPOSITORY / "bench" / "load"
    return GoPart("load", (".",), 35, module=module, sources=tuple(sorted(module.rglob("*.go"))))


def shed_application() -> GoPart:
    """The application of the shedding tests: HTTP/1.1, HTTP/2, gRPC and WebSocket."""
    module = REPOSITORY / "bench" / "load"
    return GoPart("shedapp", ("./shedapp",), 20, module=module, sources=tuple(sorted(module.rglob("*.go"))))


def drain_hook() -> GoPart:
    """The preStop hook of containers without a shell."""
    module = REPOSITORY / "drain"
    return GoPart("drain", (".",), 10, module=module, sources=tuple(sorted(module.rglob("*.go"))))


@cache
def go_version() -> str:
    """What `go version` says, of the Go that the modules ask for."""
    gotoolchain.ensure()
    return run(["go", "env", "GOVERSION"], cwd=PACKAGE / "parts" / "kubernetes").strip()


def part_key(part: GoPart, go: str) -> str:
    """The content hash under which the built part is kept."""
    digest = hashlib.sha256()
    settings = (go, os.uname().machine, *part.packages, *part.linker_flags, *part.tags)
    digest.update("\0".join(settings).encode())
    for source in (part.directory / "go.mod", part.directory / "go.sum", *part.sources):
        if source.exists():
            digest.update(b"\0" + source.relative_to(part.directory).as_posix().encode() + b"\0")
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def build(part: GoPart) -> Path:
    """The directory with the part's binaries; built now if this content never was."""
    if not (part.directory / "go.mod").exists():
        raise ClusterError(
            f"{part.name}: {part.directory / 'go.mod'} does not exist, so there is nothing to build"
        )
    target = cache_root() / "parts" / f"{part.name}-{part_key(part, go_version())}"
    if target.exists():
        return target
    with file_lock(cache_root() / "locks" / f"part-{part.name}.lock"):
        if not target.exists():
            _build_into(part, target)
    return target


def _build_into(part: GoPart, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent) as scratch:
        output = Path(scratch) / "bin"
        output.mkdir()
        argv = ["go", "build", "-mod=readonly", "-trimpath"]
        argv += ["-ldflags", " ".join(("-s", "-w", *part.linker_flags))]
        if part.tags:
            argv += ["-tags", ",".join(part.tags)]
        argv += ["-o", f"{output}/", *part.packages]
        with step(f"building {part.name}", part.usual_seconds):
            run(argv, cwd=part.directory, env={"CGO_ENABLED": "0"})
        output.rename(target)


def module_files(part: GoPart, module: str) -> Path:
    """Where the files of a module are, in the version that the part pins: its manifests, for one."""
    gotoolchain.ensure()
    run(["go", "mod", "download", module], cwd=part.directory, timeout=600)
    return Path(run(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=part.directory).strip())


def binary(part: GoPart, command: str | None = None) -> Path:
    """One binary of a part; without a name, the only one."""
    directory = build(part)
    if command is not None:
        return directory / command
    (only,) = directory.iterdir()
    return only
