"""Building Dockerfiles with buildah, without a daemon, and keeping the result by the hash of its inputs.

Only what the Dockerfile copies is part of the key, so that a change elsewhere in a large context builds nothing.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster import debian
from cluster.commands import run
from cluster.errors import ClusterError
from cluster.imagestore import MANIFEST_TYPE, StoredImage, blob_path, find_equal, layout, remember
from cluster.paths import cache_root
from cluster.progress import step
from cluster.waiting import file_lock

_CERTIFICATES = Path("/etc/ssl/certs")
# A mount namespace of its own: the storage driver leaves a mount behind, which ends with the namespace.
_PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation", "private", "--")
_NEVER_COPIED = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
_INSTRUCTION = re.compile(r"^\s*(COPY|ADD)\s+(.*)$", re.IGNORECASE)


def copied_sources(dockerfile: str) -> list[str]:
    """The paths and patterns that a Dockerfile takes from its context."""
    sources: list[str] = []
    for line in re.sub(r"\\\n", " ", dockerfile).splitlines():
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        words = shlex.split(match[2])
        flags = [word for word in words if word.startswith("--")]
        if not any(flag.startswith("--from=") for flag in flags):
            sources += [word for word in words[len(flags) : -1] if "://" not in word]
    return sources


def context_files(context: Path, sources: Sequence[str]) -> list[Path]:
    """Every file of the context that the sources name, sorted; caches and version control never belong to it."""
    found: set[Path] = set()
    for source in sources:
        matches = [context] if source in {".", "./"} else list(context.glob(source.lstrip("/").rstrip("/")))
        if not matches:
            raise ClusterError(
                f"COPY {source}: {context} holds nothing of that name; mend the Dockerfile or the tree"
            )
        for match in matches:
            found.update(
                path for path in ([match] if match.is_file() else match.rglob("*")) if path.is_file()
            )
    return sorted(path for path in found if not _NEVER_COPIED.intersection(path.relative_to(context).parts))


def inputs_key(
    context: Path, dockerfile: Path, build_args: Mapping[str, str], bases: Mapping[str, str]
) -> str:
    """The content hash of a build: its Dockerfile, arguments, base images and copied files with their modes."""
    text = dockerfile.read_text()
    digest = hashlib.sha256(json.dumps([text, dict(build_args), dict(bases)], sort_keys=True).encode())
    for path in context_files(context, copied_sources(text)):
        executable = "x" if os.access(path, os.X_OK) else "-"
        digest.update(f"\0{path.relative_to(context).as_posix()}\0{executable}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build_image(
    name: str,
    context: Path,
    dockerfile: Path,
    build_args: Mapping[str, str],
    bases: Sequence[StoredImage] = (),
) -> StoredImage:
    """Build the Dockerfile under this name, unless exactly this was built before.

    `bases` are the local images of its FROM lines: their names alone would not show that one has changed.
    """
    if not dockerfile.exists():
        raise ClusterError(f"image {name}: {dockerfile} does not exist, so it cannot be built")
    key = inputs_key(context, dockerfile, build_args, {base.name: base.manifest for base in bases})
    known = find_equal(name, key)
    if known:
        return known
    debian.ensure(debian.IMAGE_PACKAGES)
    with file_lock(cache_root() / "locks" / "buildah.lock"):
        known = find_equal(name, key)
        if known:
            return known
        with step(f"building image {name}", 30):
            for base in bases:
                _import(base)
            _build(name, context, dockerfile, build_args)
            image = StoredImage(name, key, _export(name))
    remember(image)
    return image


def empty_storage() -> None:
    """Drop buildah's own copy of everything; bases come back from the store when a build needs them."""
    with file_lock(cache_root() / "locks" / "buildah.lock"):
        if _storage().exists():
            shutil.rmtree(_storage())


def _storage() -> Path:
    return cache_root() / "buildah"


def _buildah() -> list[str]:
    storage = [
        "--root",
        str(_storage() / "root"),
        "--runroot",
        str(_storage() / "run"),
        "--storage-driver",
        "overlay",
    ]
    return [*_PRIVATE_MOUNTS, "buildah", *storage]


def _build(name: str, context: Path, dockerfile: Path, build_args: Mapping[str, str]) -> None:
    with _network_settings() as volumes:
        argv = [*_buildah(), "bud", "--quiet", "--isolation", "chroot", "--layers", "--format", "oci"]
        # It would otherwise leave a lock file in /etc/cni, though this isolation has no network of its own.
        argv += ["--cni-config-dir", str(_storage() / "cni")]
        for volume in volumes:
            argv += ["--volume", volume]
        for argument, value in build_args.items():
            argv += ["--build-arg", f"{argument}={value}"]
        run([*argv, "--file", str(dockerfile), "--tag", name, str(context)], timeout=1200)


@contextmanager
def _network_settings() -> Iterator[list[str]]:
    """Mounts that let a build reach package indexes as this machine does; nothing of it stays in the image."""
    lines = ["[global]"]
    settings = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url", "PIP_CERT": "cert"}
    for variable, option in settings.items():
        if os.environ.get(variable):
            lines.append(f"{option} = {os.environ[variable]}")
    volumes = [f"{_CERTIFICATES}:{_CERTIFICATES}:ro"] if _CERTIFICATES.is_dir() else []
    with tempfile.TemporaryDirectory(prefix="maestro-conductor-pip-") as scratch:
        configuration = Path(scratch) / "pip.conf"
        configuration.write_text("\n".join(lines) + "\n")
        yield [*volumes, f"{configuration}:/etc/pip.conf:ro"]


def _import(image: StoredImage) -> None:
    """Give buildah a base image from the store, where its own storage was emptied or holds an older one."""
    listed = [*_buildah(), "images", "--noheading", "--format", "{{.Name}}:{{.Tag}} {{.Digest}}"]
    if f"{image.name} {image.manifest}" in run(listed).splitlines():
        return
    with tempfile.TemporaryDirectory(prefix="imported-", dir=layout()) as scratch:
        size = blob_path(image.manifest).stat().st_size
        manifest = {"mediaType": MANIFEST_TYPE, "digest": image.manifest, "size": size}
        index = {"schemaVersion": 2, "manifests": [manifest]}
        (Path(scratch) / "index.json").write_text(json.dumps(index))
        (Path(scratch) / "oci-layout").write_text((layout() / "oci-layout").read_text())
        argv = [
            *_PRIVATE_MOUNTS,
            "skopeo",
            "copy",
            "--quiet",
            "--src-shared-blob-dir",
            str(layout() / "blobs"),
        ]
        run([*argv, f"oci:{scratch}", f"containers-storage:{_storage_reference(image.name)}"], timeout=300)


def _storage_reference(name: str) -> str:
    return f"[overlay@{_storage() / 'root'}+{_storage() / 'run'}]{name}"


def _export(name: str) -> str:
    """Copy the built image into the store, layers uncompressed, and return its manifest's digest."""
    with tempfile.TemporaryDirectory(prefix="exported-", dir=layout()) as scratch:
        source = f"containers-storage:{_storage_reference(name)}"
        argv = [*_PRIVATE_MOUNTS, "skopeo", "copy", "--quiet"]
        argv += ["--dest-shared-blob-dir", str(layout() / "blobs"), "--dest-oci-accept-uncompressed-layers"]
        run([*argv, source, f"oci:{scratch}:exported"], timeout=300)
        index = json.loads((Path(scratch) / "index.json").read_text())
    return str(index["manifests"][0]["digest"])
