"""Generates the CustomResourceDefinition from the pydantic models.

The API server wants a structural schema: no `$ref`, no `anyOf` with null, no `const`; and CEL needs
a bound on every list and string to stay within its cost budget.
"""

import sys
from collections.abc import Mapping
from typing import Any

import yaml

from conductor.api import names
from conductor.api.spec import ReleaseSpec
from conductor.api.status import ReleaseStatus

_DROPPED = frozenset(
    {
        "title",
        "$defs",
        "default",
        "description",
        "additionalProperties",
        "exclusiveMinimum",
        "exclusiveMaximum",
    }
)
_ANY_TEXT = 4096
_ANY_LIST = 64
_PRESERVE = "x-kubernetes-preserve-unknown-fields"

_SEMVER_RULE = {
    "rule": r"self.version.matches('^(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$')",
    "messageExpression": (
        "'spec.version: ' + self.version + ' is not a semantic version; write MAJOR.MINOR.PATCH like 1.4.0'"
    ),
    "message": "spec.version is not a semantic version; write MAJOR.MINOR.PATCH like 1.4.0",
    "fieldPath": ".version",
}
_RAMP_RULE = {
    "rule": (
        "!has(self.traffic) || !has(self.traffic.ramp) || "
        "self.traffic.ramp.all(a, self.traffic.ramp.filter(b, b.weight == a.weight).size() == 1) && "
        "self.traffic.ramp.map(s, s.weight) == self.traffic.ramp.map(s, s.weight).sort()"
    ),
    "message": "spec.traffic.ramp: weights fall or repeat; each step's weight must be greater than the one before",
}
_NAMES_RULE = {
    "rule": "self.components.all(a, self.components.filter(b, b.name == a.name).size() == 1)",
    "message": "spec.components: two components have the same name; give each a name of its own",
}

_ROUTES_RULE = {
    "rule": (
        "!has(self.traffic) || (has(self.traffic.provider) && self.traffic.provider == 'GatewayAPI') == "
        "(has(self.traffic.routes) && self.traffic.routes.size() > 0)"
    ),
    "message": (
        "spec.traffic: provider GatewayAPI needs routes, the HTTPRoutes that lead users to the release's Services, and "
        "provider Service takes none; set both or neither"
    ),
    "fieldPath": ".traffic",
}
_ROUTE_NAMES_RULE = {
    "rule": (
        "!has(self.traffic) || !has(self.traffic.routes) || "
        "self.traffic.routes.all(a, self.traffic.routes.filter(b, b.name == a.name).size() == 1)"
    ),
    "message": "spec.traffic.routes: two of them have the same name; name each route once",
}

_PREVIEW_RULE = {
    "rule": (
        "!has(self.traffic) || !has(self.traffic.preview) || "
        "(has(self.traffic.provider) && self.traffic.provider == 'GatewayAPI' && "
        "has(self.traffic.preview.header) != has(self.traffic.preview.cookie))"
    ),
    "message": (
        "spec.traffic.preview: it needs provider GatewayAPI, and either header or cookie; give exactly one of them, or "
        "take preview out"
    ),
    "fieldPath": ".traffic",
}

_BUDGET_RULE = {
    "rule": (
        "self.components.all(c, !has(c.disruptionBudget) || "
        "has(c.disruptionBudget.minAvailable) != has(c.disruptionBudget.maxUnavailable))"
    ),
    "message": (
        "spec.components[].disruptionBudget needs either minAvailable or maxUnavailable; give exactly one of them"
    ),
    "fieldPath": ".components",
}
_AUTOSCALING_RULE = {
    "rule": (
        "self.components.all(c, !has(c.autoscaling) || "
        "(has(c.autoscaling.metrics) && c.autoscaling.metrics.size() > 0) != "
        "has(c.autoscaling.targetCPUUtilizationPercentage))"
    ),
    "message": (
        "spec.components[].autoscaling needs either metrics or targetCPUUtilizationPercentage; give one of them"
    ),
    "fieldPath": ".components",
}
_EDGE_RULE = {
    "rule": (
        "!has(self.traffic) || !has(self.traffic.edge) || (has(self.traffic.consistency) && "
        "self.traffic.consistency == 'Strict' && "
        "(!has(self.traffic.provider) || self.traffic.provider == 'Service') && "
        "self.components.exists(c, has(c.services) && c.services.exists(s, s.name == self.traffic.edge)))"
    ),
    "message": (
        "spec.traffic.edge: it names the Service of components[] by which users come in with consistency Strict and "
        "provider Service; name one that a component declares, or take edge out"
    ),
    "fieldPath": ".traffic",
}
_ONE_EDGE_RULE = {
    "rule": (
        "!has(self.traffic) || !has(self.traffic.consistency) || self.traffic.consistency != 'Strict' || "
        "((has(self.traffic.provider) && self.traffic.provider == 'GatewayAPI') "
        "? (has(self.traffic.routes) && self.traffic.routes.size() == 1) "
        ": (has(self.traffic.edge) || "
        "(self.components.filter(c, has(c.services) && c.services.size() > 0).size() <= 1 && "
        "self.components.all(c, !has(c.services) || c.services.size() <= 1))))"
    ),
    "message": (
        "spec.traffic: with consistency Strict one object leads users; name the Service by which they come in as edge, "
        "or, with provider GatewayAPI, one route"
    ),
    "fieldPath": ".traffic",
}

COLUMNS = (
    {"name": "Version", "type": "string", "jsonPath": ".status.activeVersion"},
    {"name": "Target", "type": "string", "jsonPath": ".spec.version"},
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Traffic", "type": "string", "jsonPath": ".status.traffic.current"},
    {"name": "Health", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Healthy')].reason"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


def custom_resource_definition() -> dict[str, Any]:
    """The whole CRD, ready to be applied."""
    spec = structural(ReleaseSpec.model_json_schema(by_alias=True, mode="validation"))
    spec["x-kubernetes-validations"] = [
        _SEMVER_RULE,
        _RAMP_RULE,
        _NAMES_RULE,
        _ROUTES_RULE,
        _ROUTE_NAMES_RULE,
        _PREVIEW_RULE,
        _BUDGET_RULE,
        _AUTOSCALING_RULE,
        _EDGE_RULE,
        _ONE_EDGE_RULE,
    ]
    status = structural(ReleaseStatus.model_json_schema(by_alias=True, mode="serialization"))
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["cpr"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(COLUMNS),
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {
                                    "type": "object",
                                    "properties": {"name": {"type": "string", "maxLength": 40}},
                                },
                                "spec": spec,
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


def structural(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema of pydantic's as a structural schema of Kubernetes'."""
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _convert(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in node:
        return _alternatives([item for item in node["anyOf"] if item.get("type") != "null"], definitions)
    if "allOf" in node and len(node["allOf"]) == 1:
        return _convert(node["allOf"][0], definitions)
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in result:
        result["enum"] = [result.pop("const")]
    _bounds(node, result)
    if result.get("type") == "object":
        _object(node, result, definitions)
    if result.get("type") == "array":
        result.pop("prefixItems", None)
        result["items"] = _convert(node.get("items", {"type": "string"}), definitions)
        result.setdefault("maxItems", _ANY_LIST)
    if result.get("type") == "string" and "enum" not in result and "format" not in result:
        result.setdefault("maxLength", _ANY_TEXT)
    return result


def _object(node: Mapping[str, Any], result: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    properties = node.get("properties")
    if properties is None:
        result[_PRESERVE] = True
        return
    result["properties"] = {key: _convert(value, definitions) for key, value in properties.items()}
    if node.get("additionalProperties") is False:
        # An unknown field must reach us to be reported: pruning would lose it without a word.
        result[_PRESERVE] = True


def _alternatives(options: list[Mapping[str, Any]], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if len(options) == 1:
        return _convert(options[0], definitions)
    return {"x-kubernetes-int-or-string": True}


def _bounds(node: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Structural schemas want OpenAPI v3.0's boolean form of exclusive bounds."""
    for key, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if key in node:
            result[plain], result[key] = node[key], True


def main() -> int:
    """Print the CRD as YAML."""
    header = "# Generated by `make crds` from operator/conductor/api. Do not edit.\n"
    sys.stdout.write(header + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=110))
    return 0


if __name__ == "__main__":
    sys.exit(main())
