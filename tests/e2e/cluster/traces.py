"""What a node's programs leave outside its own directories, at paths that they do not let one choose."""

import stat
from collections.abc import Iterator
from pathlib import Path

_LOG_LINKS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")
_SHIM_SOCKETS = Path("/run/containerd/s")
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_SHARED_DIRECTORIES = (
    _LOG_LINKS,
    _CNI_RESULTS,
    _CNI_RESULTS.parent,
    _SHIM_SOCKETS,
    _SHIM_SOCKETS.parent,
    _DEVICE_PLUGINS,
    _DEVICE_PLUGINS.parent,
)


def of_node(run: Path, data: Path) -> list[Path]:
    """Every such file of the node with these directories; the directories must still be there."""
    return [*_log_links(data), *_cni_results(run), *_shim_sockets(run)]


def _log_links(data: Path) -> Iterator[Path]:
    """The kubelet's links for log collectors; they point into the node's own log directory."""
    if _LOG_LINKS.is_dir():
        for link in _LOG_LINKS.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{data}/"):
                yield link


def _cni_results(run: Path) -> Iterator[Path]:
    """What each pod's network plugin answered; the pod's namespace file in it tells whose it is."""
    if _CNI_RESULTS.is_dir():
        for result in _CNI_RESULTS.iterdir():
            if f'"{run}/' in result.read_text(errors="replace"):
                yield result


def _shim_sockets(run: Path) -> Iterator[Path]:
    """A killed shim does not remove its socket, whose path stands beside the container's state."""
    for address in run.glob("containerd/io.containerd.runtime.v2.task/*/*/address"):
        socket = Path(address.read_text().removeprefix("unix://"))
        if socket.is_relative_to(_SHIM_SOCKETS) and socket.exists():
            yield socket


def remove(paths: list[Path]) -> None:
    """Remove the files, and the shared directories that are empty without them."""
    for path in paths:
        path.unlink(missing_ok=True)
    if not _kubelet_runs() and _DEVICE_PLUGINS.is_dir():
        for entry in _DEVICE_PLUGINS.iterdir():
            if stat.S_ISSOCK(entry.stat().st_mode):
                entry.unlink()
    for directory in _SHARED_DIRECTORIES:
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def _kubelet_runs() -> bool:
    """Whether any kubelet is left on this machine, ours or not: they all share one socket directory."""
    return any(_comm(entry) == "kubelet" for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _comm(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
