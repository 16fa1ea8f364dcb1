"""The rules that every file of the project keeps."""

from __future__ import annotations

import functools
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 400
GENERATED = re.compile(
    r"(^LICENSE$|\.lock$|go\.sum$|^crds/|^charts/conductor/files/|\.(json|svg|txt|golden)$)"
)
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
THIS_FILE = Path(__file__).relative_to(ROOT)


@functools.cache
def project_files() -> list[Path]:
    """Every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in project_files() if path.suffix == ".py"]


def opens_with_a_string(path: Path) -> bool:
    """Whether the first statement is a docstring; an empty file needs none."""
    nothing = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL)
    with path.open("rb") as file:
        first = next(token for token in tokenize.tokenize(file.readline) if token.type not in nothing)
    return first.type in (tokenize.STRING, tokenize.ENDMARKER)


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    too_long = {}
    for path in project_files():
        if GENERATED.search(str(path)):
            continue
        lines = (ROOT / path).read_bytes().count(b"\n")
        if lines > MOST_LINES:
            too_long[str(path)] = lines
    assert not too_long, f"more than {MOST_LINES} lines; split them by what they do: {too_long}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        str(path) for path in python_files() if path.stem in VAGUE_NAMES or VAGUE_NAMES & set(path.parts)
    ]
    assert not vague, f"name these by what lives there: {vague}"


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_python_file_says_what_lives_there() -> None:
    silent = [str(path) for path in python_files() if not opens_with_a_string(ROOT / path)]
    assert not silent, f"a docstring at the top is missing: {silent}"


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("an unfinished mark", re.compile(r"\b(TODO|FIXME|XXX)\b")),
        ("an error thrown away", re.compile(r"except[^\n:]*:\s*\n?\s*pass\b")),
    ],
)
def test_nothing_is_left_unfinished(what: str, pattern: re.Pattern[str]) -> None:
    found = [
        str(path)
        for path in python_files()
        if path != THIS_FILE and pattern.search((ROOT / path).read_text())
    ]
    assert not found, f"{what} in {found}"


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    sleeping = [
        str(path)
        for path in python_files()
        if path.parts[0] == "tests" and path.name.startswith("test_") and path != THIS_FILE
        if re.search(r"\btime\.sleep\(|\bimport sleep\b", (ROOT / path).read_text())
    ]
    assert not sleeping, f"wait for the condition instead: {sleeping}"


def test_locks_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock"):
        assert "://" not in (ROOT / name).read_text(), f"{name} names a host; make it with `make lock`"
