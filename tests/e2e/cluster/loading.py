"""Handing a stored image to a node's containerd: only the layers that it lacks are sent."""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from cluster.commands import run
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage, write_archive


def held_digests(socket: Path) -> set[str]:
    """Digests of everything in containerd's content store."""
    return set(run(["ctr", "--address", socket, "--namespace", "k8s.io", "content", "ls", "-q"]).split())


def held_images(socket: Path) -> dict[str, str]:
    """Names of the images in containerd and the digest of what each names."""
    listing = run(["ctr", "--address", socket, "--namespace", "k8s.io", "images", "ls"])
    rows = [line.split() for line in listing.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def load(socket: Path, images: Sequence[StoredImage]) -> list[str]:
    """Import those images that are not there under their name already; answers the names of what was sent."""
    held = held_images(socket)
    lacking = [image for image in images if held.get(image.name) != image.manifest]
    for image in lacking:
        _send(socket, image)
    return [image.name for image in lacking]


def _send(socket: Path, image: StoredImage) -> None:
    argv = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "import", "-"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        # Where ctr ends early, its own words say why.
        with contextlib.suppress(BrokenPipeError):
            write_archive(image, cast("BinaryIO", process.stdin), without=held_digests(socket))
        output, _ = process.communicate()
    if process.returncode != 0:
        raise ClusterError(
            f"image {image.name}: containerd refused it: {output.decode(errors='replace')[-800:]}"
        )
