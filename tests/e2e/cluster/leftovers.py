"""The proof that a stopped cluster left nothing: processes, mounts, links, groups and files are looked for."""

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.mounts import mounted_below
from cluster.network import link_exists, machine_link_name
from cluster.processes import start_time

if TYPE_CHECKING:
    from cluster.local import LocalCluster


def found(cluster: "LocalCluster") -> list[str]:
    """One sentence for each thing of this instance that is still on the machine; empty when it left no trace."""
    directories = (cluster.paths.run, cluster.paths.data)
    left = [f"process {pid}: {text}" for pid, text in _processes(directories)]
    left += [f"mount {point}" for point in mounted_below(directories)]
    link = machine_link_name(cluster.paths.name)
    if link_exists(link):
        left.append(f"link {link}")
    left += [f"control group {group}" for group in cluster.control_groups()]
    for node in cluster.nodes:
        left += [f"file {path}" for path in node.traces()]
    left += [f"directory {directory}" for directory in directories if directory.exists()]
    return left


def _processes(directories: tuple[Path, ...]) -> list[tuple[int, str]]:
    """Processes that name one of the directories on their command line or run from below it."""
    prefixes = tuple(f"{directory}/" for directory in directories)
    hits = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            root = str((entry / "root").readlink()) + "/"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        named = any(prefix in word for word in words for prefix in prefixes)
        if (named or root.startswith(prefixes)) and start_time(int(entry.name)):
            hits.append((int(entry.name), " ".join(words)[:120]))
    return hits
