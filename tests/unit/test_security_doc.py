"""docs/security.md names tests that exist, and roles that are enough for what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DOCUMENT)))


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_every_test_that_shows_something_exists(path: str, test: str) -> None:
    source = ROOT / path
    assert source.is_file(), path
    functions = {
        node.name for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert not test or test in functions


def test_every_threat_is_shown_by_a_test() -> None:
    table = DOCUMENT.partition("## Threats")[2].partition("###")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 15
    for row in rows:
        shown = row.split("|")[-2]
        assert "`tests/" in shown or shown.strip() == "the same", row


def test_the_role_of_authors_gives_what_the_policies_ask_for() -> None:
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    given = {
        (group, resource, verb)
        for rule in yaml.safe_load(found[1])["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if group != "maestro-conductor.io"
    }
    policy = (ROOT / "charts" / "conductor" / "templates" / "admission-authors.yaml").read_text()
    asked = set(re.findall(r'\(list "(\w*)" "(\w+)" "(\w+)"\)', policy))
    checks = re.findall(r"authorizer\.group\('([\w.]*)'\)\.resource\('(\w+)'\)[^}]*?check\('(\w+)'\)", policy)
    assert given == asked | set(checks)
