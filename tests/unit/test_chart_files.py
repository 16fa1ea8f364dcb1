"""The operator's chart: the same CRD as crds/, and permissions for what the operator does and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from conductor.api.urls import DEFAULT_PATTERNS, PATTERN

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "conductor"
CRDS = ROOT / "crds"


def test_the_chart_ships_the_same_crds() -> None:
    shipped = {path.name: path.read_bytes() for path in (CHART / "files").glob("*.yaml")}
    assert shipped == {path.name: path.read_bytes() for path in CRDS.glob("*.yaml")}, "run `make crds`"


def test_the_crd_has_the_one_place_where_the_chart_writes_its_annotation() -> None:
    for path in CRDS.glob("*.yaml"):
        assert path.read_text().count("\nmetadata:\n") == 1
        assert "annotations" not in yaml.safe_load(path.read_text())["metadata"]


def test_every_value_has_a_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = {
        "podAnnotations",
        "podLabels",
        "nodeSelector",
        "affinity",
        "requests",
        "limits",
        "annotations",
        "labels",
        "addresses",
    }

    def check(given: dict[str, object], described: dict[str, dict[str, object]], path: str) -> None:
        for name, value in given.items():
            assert name in described, f"{path}{name} is not in values.schema.json"
            if isinstance(value, dict) and name not in free:
                properties = described[name]["properties"]
                assert isinstance(properties, dict)
                check(value, properties, f"{path}{name}.")

    check(values, schema["properties"], "")


def test_no_secret_is_read() -> None:
    for name in ("_names.tpl", "rbac.yaml"):
        rules = (CHART / "templates" / name).read_text()
        assert "secrets" not in re.sub(r"\{\{/\*.*?\*/\}\}", "", rules), name


def test_the_chart_allows_the_urls_that_an_operator_without_a_list_goes_by() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert tuple(values["prometheus"]["allowedUrls"]) == DEFAULT_PATTERNS


def test_the_chart_takes_for_a_pattern_what_the_operator_takes_for_one() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    patterns = schema["properties"]["prometheus"]["properties"]["allowedUrls"]
    assert patterns["items"]["pattern"] == PATTERN.pattern


def test_no_rule_takes_everything() -> None:
    for path in (CHART / "templates").iterdir():
        assert not re.search(r"(apiGroups|resources|verbs): \[.*\*", path.read_text()), path.name
