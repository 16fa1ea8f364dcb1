"""Built images outside the tree: an OCI layout of shared blobs, and one record for each image that we built.

Layers that two images share are stored once, and a cluster that holds a layer is not sent it again.
"""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cluster.paths import cache_root

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_BUILD_SECONDS = 1800


@dataclass(frozen=True)
class StoredImage:
    """One image in the store: the name that pods use, the key of its inputs, and its manifest's digest."""

    name: str
    key: str
    manifest: str

    def manifest_document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(blob_path(self.manifest).read_text())
        return document

    def blobs(self) -> list[str]:
        """Digests of the manifest, the config and the layers."""
        document = self.manifest_document()
        layers = [str(layer["digest"]) for layer in document["layers"]]
        return [self.manifest, str(document["config"]["digest"]), *layers]

    @property
    def size(self) -> int:
        return sum(blob_path(digest).stat().st_size for digest in self.blobs())


def layout() -> Path:
    """The OCI layout directory, made on first use."""
    root = cache_root() / "images"
    (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    marker = root / "oci-layout"
    if not marker.exists():
        marker.write_text('{"imageLayoutVersion": "1.0.0"}')
    return root


def blob_path(digest: str) -> Path:
    return layout() / "blobs" / "sha256" / digest.removeprefix("sha256:")


def add_blob(data: bytes) -> str:
    """Store bytes under their digest and return it."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    path = blob_path(digest)
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.rename(path)
    return digest


def _record(name: str) -> Path:
    return cache_root() / "images" / "records" / f"{name.replace('/', '_').replace(':', '@')}.json"


def find(name: str, key: str) -> StoredImage | None:
    """The image if it was built from exactly these inputs and is still whole."""
    record = _record(name)
    if not record.exists():
        return None
    content = json.loads(record.read_text())
    image = StoredImage(name, str(content["key"]), str(content["manifest"]))
    if image.key != key or not blob_path(image.manifest).exists():
        return None
    return image if all(blob_path(digest).exists() for digest in image.blobs()) else None


def find_equal(name: str, key: str) -> StoredImage | None:
    """Like `find`, but an image of another name that was built from the same inputs is given this name too."""
    known = find(name, key)
    if known:
        return known
    for record in sorted(_record(name).parent.glob("*.json")):
        content = json.loads(record.read_text())
        if content["key"] == key and find(str(content["name"]), key):
            alias = StoredImage(name, key, str(content["manifest"]))
            remember(alias)
            return alias
    return None


def remember(image: StoredImage) -> None:
    record = _record(image.name)
    record.parent.mkdir(parents=True, exist_ok=True)
    # Replaced as a whole: another process may read it at this moment.
    partial = record.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"name": image.name, "key": image.key, "manifest": image.manifest}))
    partial.rename(record)


def forget_all_but(names: Collection[str]) -> None:
    """Drop the records of other names, and the blobs that no record needs and no build is writing now."""
    needed: set[str] = set()
    for record in (layout() / "records").glob("*.json"):
        content = json.loads(record.read_text())
        image = StoredImage(str(content["name"]), str(content["key"]), str(content["manifest"]))
        if image.name in names and blob_path(image.manifest).exists():
            needed.update(digest.removeprefix("sha256:") for digest in image.blobs())
        else:
            record.unlink()
    settled = time.time() - _BUILD_SECONDS
    for blob in (layout() / "blobs" / "sha256").iterdir():
        if blob.name not in needed and blob.stat().st_mtime < settled:
            blob.unlink()


def write_archive(image: StoredImage, target: BinaryIO, without: Collection[str] = ()) -> None:
    """Write an OCI archive that leaves out the layers which the receiver already holds."""
    manifest = blob_path(image.manifest)
    descriptor = {
        "mediaType": MANIFEST_TYPE,
        "digest": image.manifest,
        "size": manifest.stat().st_size,
        "annotations": {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
        },
    }
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [descriptor]}
    with tarfile.open(fileobj=target, mode="w|") as archive:
        _add_bytes(archive, "oci-layout", (layout() / "oci-layout").read_bytes())
        _add_bytes(archive, "index.json", json.dumps(index).encode())
        for position, digest in enumerate(image.blobs()):
            is_layer = position > 1
            if is_layer and digest in without:
                continue
            archive.add(blob_path(digest), f"blobs/sha256/{digest.removeprefix('sha256:')}", recursive=False)


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
