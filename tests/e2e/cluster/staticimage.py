"""One-layer images of static binaries: a tar file and two JSON documents, no builder needed."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.imagestore import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    StoredImage,
    add_blob,
    blob_path,
    find,
    remember,
)

NONROOT = "65532:65532"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class StaticImage:
    """What goes into the layer (path in the image to file here) and how it is started."""

    name: str
    files: Mapping[str, Path]
    entrypoint: Sequence[str]
    user: str = NONROOT
    directories: Sequence[str] = field(default=("tmp",))


def layer_bytes(image: StaticImage) -> bytes:
    """The layer's tar: sorted, without times or owners, so that equal content has an equal digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        parents = {str(parent) for path in image.files for parent in Path(path).parents if str(parent) != "."}
        for directory in sorted(parents | set(image.directories)):
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if directory == "tmp" else 0o755
            archive.addfile(entry)
        for path, source in sorted(image.files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = source.stat().st_size
            entry.mode = 0o755 if os.access(source, os.X_OK) else 0o644
            with source.open("rb") as content:
                archive.addfile(entry, content)
    return buffer.getvalue()


def build_static(image: StaticImage) -> StoredImage:
    """Put the image into the store, unless these very files stand there already."""
    key = static_key(image)
    known = find(image.name, key)
    if known:
        return known
    layer = layer_bytes(image)
    layer_digest = add_blob(layer)
    config = {
        "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"User": image.user, "Entrypoint": list(image.entrypoint), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    }
    config_digest = add_blob(json.dumps(config, sort_keys=True).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, config_digest),
        "layers": [_descriptor(LAYER_TYPE, layer_digest)],
    }
    stored = StoredImage(image.name, key, add_blob(json.dumps(manifest, sort_keys=True).encode()))
    remember(stored)
    return stored


def static_key(image: StaticImage) -> str:
    """Content hash of everything that the image is made of."""
    digest = hashlib.sha256(
        json.dumps([list(image.entrypoint), image.user, list(image.directories)]).encode()
    )
    for path, source in sorted(image.files.items()):
        digest.update(path.encode() + b"\0")
        with source.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _descriptor(media_type: str, digest: str) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest, "size": blob_path(digest).stat().st_size}
