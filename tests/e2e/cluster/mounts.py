"""What is mounted on this machine, and unmounting what lies in directories of ours."""

import re
from collections.abc import Sequence
from pathlib import Path

from cluster.commands import run


def mount_points() -> list[str]:
    """All mount points in the order of mounting, with the kernel's escapes undone."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4]) for line in lines]


def mounted_below(directories: Sequence[Path]) -> list[str]:
    """Mount points below the directories, the latest first."""
    prefixes = tuple(f"{directory}/" for directory in directories)
    return [point for point in reversed(mount_points()) if point.startswith(prefixes)]


def is_mounted(path: Path) -> bool:
    """Also for a file, which Path.is_mount does not see."""
    return str(path) in mount_points()


def unmount(point: str) -> None:
    # Lazily: a process that ended a moment ago may still be let go of by the kernel.
    run(["umount", "--lazy", point])
