"""The CRD: structural, bounded, and the file that is shipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from conductor.api.crd import custom_resource_definition
from conductor.api.names import GROUP, KIND

ROOT = Path(__file__).resolve().parents[3]
CRD = custom_resource_definition()
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


def at(path: str) -> dict[str, Any]:
    return dict(nodes(SCHEMA))[path]


def test_the_shipped_files_are_what_the_models_say() -> None:
    for shipped in ("crds/controlplanereleases.yaml", "charts/conductor/files/controlplanereleases.yaml"):
        assert yaml.safe_load((ROOT / shipped).read_text()) == CRD, f"{shipped} is old; run `make crds`"


def test_the_schema_is_structural() -> None:
    forbidden = {
        "$ref",
        "$defs",
        "anyOf",
        "oneOf",
        "allOf",
        "const",
        "additionalProperties",
        "title",
        "default",
    }
    for path, node in nodes(SCHEMA):
        assert not forbidden & set(node), f"{path} has {forbidden & set(node)}"
        assert "type" in node or "x-kubernetes-int-or-string" in node, f"{path} has no type"
        assert isinstance(node.get("exclusiveMinimum", True), bool), path
        if node.get("type") == "object":
            assert "properties" in node or node.get(_PRESERVE), f"{path} would be pruned empty"


def test_every_list_and_string_has_a_bound() -> None:
    for path, node in nodes(SCHEMA["properties"]["spec"]):
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path


def test_only_templates_are_free_and_unknown_fields_reach_the_operator() -> None:
    free = {path for path, node in nodes(SCHEMA["properties"]["spec"]) if node.get("type") == "object"}
    assert {path for path in free if "properties" not in at(f".spec{path}")} == {
        ".components[].template",
        ".components[].autoscaling.metrics[]",
        ".components[].autoscaling.behavior",
    }
    assert all(at(f".spec{path}").get(_PRESERVE) for path in free)


def test_bounds_of_the_models_hold_at_admission() -> None:
    assert at(".spec.components[].replicas") == {"type": "integer", "minimum": 1, "maximum": 1000}
    assert at(".spec.traffic.switchHealth.errorRate") == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 1,
        "exclusiveMaximum": True,
    }
    assert at(".spec.traffic.current")["enum"] == ["blue", "green"]
    assert at(".spec.soak")["pattern"] == "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
    assert at(".spec.components[].services[].ports[].targetPort") == {"x-kubernetes-int-or-string": True}
    assert at(".spec.surge.prePull")["required"] == ["image"]
    assert at(".spec.surge.prePull.image") == {"type": "string", "minLength": 1, "maxLength": 2048}
    assert at(".spec")["required"] == ["version", "components", "metrics"]


def test_one_object_can_show_what_cel_refuses() -> None:
    rules = SCHEMA["properties"]["spec"]["x-kubernetes-validations"]
    assert all("rule" in rule and ";" in rule["message"] for rule in rules)
    told = " ".join(rule["message"] for rule in rules)
    for field in (
        "spec.version",
        "spec.traffic.ramp",
        "spec.components",
        "spec.traffic.routes",
        "spec.traffic.edge",
    ):
        assert field in told


def test_what_kubectl_shows() -> None:
    version = CRD["spec"]["versions"][0]
    assert [column["name"] for column in version["additionalPrinterColumns"]] == [
        "Version",
        "Target",
        "Phase",
        "Traffic",
        "Health",
        "Age",
    ]
    assert version["subresources"] == {"status": {}}
    assert (CRD["spec"]["group"], CRD["spec"]["names"]["kind"], CRD["spec"]["scope"]) == (
        GROUP,
        KIND,
        "Namespaced",
    )
    assert CRD["spec"]["names"]["shortNames"] == ["cpr"]
