"""What the README tells people to do is what the project takes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from conductor.api.spec import ReleaseSpec

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_release_of_the_quick_start_is_a_good_one() -> None:
    found = re.search(r"<<'YAML'\n(.*?)\nYAML", README, re.DOTALL)
    assert found is not None
    release = yaml.safe_load(found[1])
    assert (release["apiVersion"], release["kind"]) == (
        "maestro-conductor.io/v1alpha1",
        "ControlPlaneRelease",
    )
    assert ReleaseSpec.model_validate(release["spec"]).version == "6.9.0"


def test_every_target_that_documents_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        named = set(re.findall(r"`(?:[A-Z]+=\S+ )?make ([a-z][a-z0-9-]*)", document.read_text()))
        assert named <= targets, f"{document.name}: {named - targets}"


def test_every_file_that_the_readme_links_to_exists() -> None:
    missing = [path for path in re.findall(r"\]\(([^)#:]+)\)", README) if not (ROOT / path).exists()]
    assert not missing
