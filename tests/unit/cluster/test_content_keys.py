"""Keys of built parts and images: what belongs to the content changes them, what does not leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.dockerbuild import context_files, copied_sources, inputs_key
from cluster.errors import ClusterError
from cluster.goparts import GoPart, part_key
from cluster.rootfs import PYTHON, RootFilesystem, recipe_key
from cluster.staticimage import StaticImage, layer_bytes, static_key

DOCKERFILE = """ARG BASE
FROM ${BASE} AS build
COPY requirements.lock ./
COPY --chown=0:0 app \\
  /opt/app
FROM ${BASE}
COPY --from=build /opt/app /opt/app
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print('hello')\n")
    (tmp_path / "requirements.lock").write_text("kopf==1.0\n")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def key(context: Path, base: str = "sha256:1") -> str:
    return inputs_key(context, context / "Dockerfile", {"BASE": "base"}, {"base": base})


def test_a_dockerfile_names_what_it_takes_from_its_context() -> None:
    assert copied_sources(DOCKERFILE) == ["requirements.lock", "app"]


def test_a_change_that_the_dockerfile_copies_makes_a_new_key(context: Path) -> None:
    before = key(context)
    (context / "app" / "main.py").write_text("print('hello again')\n")
    assert key(context) != before


def test_a_mode_is_part_of_the_content(context: Path) -> None:
    before = key(context)
    (context / "app" / "main.py").chmod(0o755)
    assert key(context) != before


def test_another_base_makes_a_new_key(context: Path) -> None:
    assert key(context, "sha256:1") != key(context, "sha256:2")


@pytest.mark.parametrize("stray", ["notes.txt", "app/__pycache__/main.pyc", ".git/HEAD"])
def test_what_is_not_copied_does_not_matter(context: Path, stray: str) -> None:
    before = key(context)
    path = context / stray
    path.parent.mkdir(exist_ok=True)
    path.write_text("anything")
    assert key(context) == before


def test_a_copy_of_what_is_not_there_is_refused_by_name(context: Path) -> None:
    with pytest.raises(ClusterError, match=r"COPY missing\.txt"):
        context_files(context, ["missing.txt"])


def go_part(directory: Path, **changes: tuple[str, ...]) -> GoPart:
    (directory / "go.mod").write_text("module example\n")
    return GoPart("example", (".",), 1, module=directory, **changes)  # type: ignore[arg-type]


def test_a_part_is_known_by_pins_flags_and_compiler(tmp_path: Path) -> None:
    plain = part_key(go_part(tmp_path), "go1.26.1")
    assert part_key(go_part(tmp_path), "go1.26.1") == plain
    assert part_key(go_part(tmp_path), "go1.26.2") != plain
    assert part_key(go_part(tmp_path, linker_flags=("-X main.version=2",)), "go1.26.1") != plain
    (tmp_path / "go.sum").write_text("example v1 h1:abc\n")
    assert part_key(go_part(tmp_path), "go1.26.1") != plain


def test_a_base_is_made_anew_every_month_and_after_a_change_of_recipe() -> None:
    assert recipe_key(PYTHON, "2030-01") == recipe_key(PYTHON, "2030-01")
    assert recipe_key(PYTHON, "2030-01") != recipe_key(PYTHON, "2030-02")
    more = RootFilesystem(PYTHON.name, (*PYTHON.packages, "curl"))
    assert recipe_key(PYTHON, "2030-01") != recipe_key(more, "2030-01")


def test_equal_files_make_an_equal_layer(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_bytes(b"binary")
        path.chmod(0o755)
    images = [StaticImage("localhost/x:1", {"bin/x": path}, ["/bin/x"]) for path in (first, second)]
    assert layer_bytes(images[0]) == layer_bytes(images[1])
    assert static_key(images[0]) == static_key(images[1])
    assert static_key(images[0]) != static_key(StaticImage("localhost/x:1", {"bin/x": first}, ["/bin/y"]))
