"""The control groups of one node, under cgroup v1 and v2: made beforehand, emptied and removed at the end."""

import os
import signal
from pathlib import Path

from cluster.processes import signal_processes
from cluster.waiting import wait_until

_ROOT = Path("/sys/fs/cgroup")
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


def unified() -> bool:
    """True where cgroup v2 alone is mounted."""
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if unified():
        return [_ROOT]
    # Controllers mounted together appear once more as symbolic links.
    return [entry for entry in sorted(_ROOT.iterdir()) if entry.is_dir() and not entry.is_symlink()]


def create(name: str) -> None:
    """Make the node's root group under every controller, ready for the kubelet's own groups below it."""
    if unified():
        available = (_ROOT / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{controller}" for controller in _V2_CONTROLLERS if controller in available)
        (_ROOT / "cgroup.subtree_control").write_text(wanted)
        (_ROOT / name).mkdir(exist_ok=True)
        (_ROOT / name / "cgroup.subtree_control").write_text(wanted)
        return
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A new v1 cpuset is empty and refuses every process until both are given.
            if (group / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def existing(name: str) -> list[Path]:
    """Where groups of this name still are."""
    return [hierarchy / name for hierarchy in _hierarchies() if (hierarchy / name).exists()]


def names(prefix: str) -> set[str]:
    """Names of all groups that begin so, under whichever controller they are."""
    return {group.name for hierarchy in _hierarchies() for group in hierarchy.glob(f"{prefix}*")}


def _directories(group: Path) -> list[Path]:
    """The group and all below it, the deepest first; os.walk passes over what goes away meanwhile."""
    return [Path(directory) for directory, _, _ in os.walk(group, topdown=False)]


def members(name: str) -> set[int]:
    """Every process in the groups of this name and below."""
    directories = [directory for group in existing(name) for directory in _directories(group)]
    return {pid for directory in directories for pid in _pids(directory / "cgroup.procs")}


def _pids(procs: Path) -> list[int]:
    try:
        return [int(line) for line in procs.read_text().split()]
    except OSError:
        # A container's group may go away while we look.
        return []


def kill_members(name: str) -> None:
    """Kill what runs in the groups until nothing does; a shim may start one more process meanwhile."""

    def none_left() -> bool:
        pids = members(name)
        signal_processes(pids, signal.SIGKILL)
        return not pids

    wait_until(none_left, f"cgroup {name} without processes", 20, 0.05)


def remove(name: str) -> None:
    """Remove the groups, the deepest first; the kernel may need a moment after the last process."""

    def gone() -> bool:
        for group in existing(name):
            for directory in _directories(group):
                _try_rmdir(directory)
        return not existing(name)

    wait_until(gone, f"cgroup {name} removed", 20, 0.05)


def _try_rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        # Busy for the moment or gone already; the caller looks again.
        return
