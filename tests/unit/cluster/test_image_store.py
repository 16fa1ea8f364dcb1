"""The store of built images: found by content, shared by layers, sent without what is there, emptied of the stale."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from cluster.imagestore import StoredImage, blob_path, find, find_equal, forget_all_but, layout, write_archive
from cluster.paths import cache_root
from cluster.progress import step, usual_seconds
from cluster.staticimage import StaticImage, build_static


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def image(tmp_path: Path, name: str, content: bytes) -> StoredImage:
    binary = tmp_path / "binary"
    binary.write_bytes(content)
    return build_static(StaticImage(name, {"bin/x": binary}, ["/bin/x"]))


def members(stored: StoredImage, without: list[str] | None = None) -> set[str]:
    buffer = io.BytesIO()
    write_archive(stored, buffer, without or [])
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        return set(archive.getnames())


def test_an_image_is_found_only_by_the_content_it_was_built_from(tmp_path: Path) -> None:
    stored = image(tmp_path, "localhost/x:1", b"one")
    assert find("localhost/x:1", stored.key) == stored
    assert find("localhost/x:1", "another key") is None
    assert find("localhost/y:1", stored.key) is None


def test_an_image_that_lost_a_layer_is_built_anew(tmp_path: Path) -> None:
    stored = image(tmp_path, "localhost/x:1", b"one")
    blob_path(stored.blobs()[2]).unlink()
    assert find("localhost/x:1", stored.key) is None
    assert image(tmp_path, "localhost/x:1", b"one") == stored


def test_equal_inputs_under_two_names_are_one_image(tmp_path: Path) -> None:
    stored = image(tmp_path, "localhost/x:1", b"one")
    alias = find_equal("localhost/x:2", stored.key)
    assert alias == StoredImage("localhost/x:2", stored.key, stored.manifest)


def test_an_archive_leaves_out_layers_that_are_there_but_never_the_manifest(tmp_path: Path) -> None:
    stored = image(tmp_path, "localhost/x:1", b"one")
    manifest, config, layer = (f"blobs/sha256/{digest.removeprefix('sha256:')}" for digest in stored.blobs())
    assert members(stored) == {"oci-layout", "index.json", manifest, config, layer}
    assert members(stored, stored.blobs()) == {"oci-layout", "index.json", manifest, config}


def test_the_archive_carries_the_name_that_pods_use(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    write_archive(image(tmp_path, "localhost/x:1", b"one"), buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        (described,) = json.load(index)["manifests"]
    assert described["annotations"]["io.containerd.image.name"] == "localhost/x:1"


def test_stale_images_go_and_what_a_build_may_be_writing_stays(tmp_path: Path) -> None:
    kept, stale = image(tmp_path, "localhost/x:1", b"one"), image(tmp_path, "localhost/old:1", b"two")
    fresh = layout() / "blobs" / "sha256" / "being-written"
    fresh.write_text("half")
    stale_layer = blob_path(stale.blobs()[2])
    for digest in [*kept.blobs(), *stale.blobs()]:
        os.utime(blob_path(digest), (0, 0))
    forget_all_but(["localhost/x:1"])
    assert find("localhost/x:1", kept.key) == kept
    assert find("localhost/old:1", stale.key) is None
    assert not stale_layer.exists()
    assert fresh.exists()


def test_a_step_remembers_how_long_it_took_and_forgets_a_failure() -> None:
    assert usual_seconds("example", 42) == 42
    with pytest.raises(ValueError, match="broken"), step("example", 1):
        raise ValueError("broken")
    assert usual_seconds("example", 42) == 42
    with step("example", 1):
        pass
    assert usual_seconds("example", 42) < 1
    (cache_root() / "timings.json").write_text("{half")
    assert usual_seconds("example", 42) == 42
