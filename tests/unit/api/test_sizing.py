"""Autoscaling and disruption budgets as a user writes them."""

from typing import Any

import pytest
from tests.unit.domain.plane import api_component, spec

from conductor.api.parse import parse_spec
from conductor.api.spec import ReleaseSpec
from conductor.domain.revision import digest

BOUNDS = {"minReplicas": 2, "maxReplicas": 8, "targetCPUUtilizationPercentage": 70}


def written(**fields: Any) -> dict[str, Any]:
    component = {**api_component("1.0.0"), **fields}
    if "replicas" not in fields:
        component.pop("replicas")
    return spec("1.0.0", components=[component])


def said(**fields: Any) -> str:
    found = parse_spec(written(**fields))
    return "" if isinstance(found, ReleaseSpec) else "; ".join(str(item) for item in found)


@pytest.mark.parametrize(
    ("fields", "replicas"),
    [
        ({"autoscaling": BOUNDS}, 2),
        ({"autoscaling": {**BOUNDS, "minReplicas": 1}}, 1),
        ({"autoscaling": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 70}}, 1),
        ({"autoscaling": BOUNDS, "replicas": 4}, 4),
        ({}, 1),
    ],
)
def test_a_component_begins_with_the_least_unless_it_says_how_many(
    fields: dict[str, Any], replicas: int
) -> None:
    found = parse_spec(written(**fields))
    assert isinstance(found, ReleaseSpec)
    assert found.components[0].replicas == replicas


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"autoscaling": {**BOUNDS, "minReplicas": 9}}, "minReplicas 9 is more than maxReplicas 8"),
        ({"autoscaling": BOUNDS, "replicas": 9}, "replicas 9 is outside of autoscaling.minReplicas 2"),
        ({"autoscaling": {"maxReplicas": 8}}, "needs either metrics or targetCPUUtilizationPercentage"),
        ({"autoscaling": {**BOUNDS, "metrics": [{"type": "Resource"}]}}, "give one of them"),
        ({"autoscaling": {"minReplicas": 2, "targetCPUUtilizationPercentage": 70}}, "maxReplicas"),
        ({"autoscaling": {**BOUNDS, "maxPods": 3}}, "maxPods"),
        ({"autoscaling": [1]}, "is not an object"),
        ({"autoscaling": {**BOUNDS, "behavior": {"scaleUp": "fast"}}}, "scaleUp is 'fast' and not an object"),
        ({"autoscaling": {**BOUNDS, "behavior": {"scaleDown": 5}}}, "scaleDown is 5 and not an object"),
        ({"disruptionBudget": {}}, "needs either minAvailable or maxUnavailable"),
        ({"disruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}, "exactly one"),
        ({"disruptionBudget": {"minAvailable": "half"}}, "minAvailable"),
        ({"disruptionBudget": {"minAvailable": "101%"}}, "minAvailable"),
    ],
)
def test_what_cannot_be_is_said_with_the_mend(fields: dict[str, Any], words: str) -> None:
    assert words in said(**fields)


@pytest.mark.parametrize("asked", [{"minAvailable": "50%"}, {"maxUnavailable": 0}, {"minAvailable": 3}])
def test_a_budget_is_a_number_or_a_share(asked: dict[str, Any]) -> None:
    assert said(disruptionBudget=asked) == ""


def test_sizes_are_no_other_version() -> None:
    plain = digest(written())
    assert digest(written(autoscaling=BOUNDS, replicas=3, disruptionBudget={"minAvailable": 1})) == plain


def test_a_recorded_spec_reads_as_it_was_accepted() -> None:
    found = parse_spec(written(autoscaling=BOUNDS, disruptionBudget={"minAvailable": "50%"}))
    assert isinstance(found, ReleaseSpec)
    again = parse_spec(found.model_dump(mode="json", by_alias=True, exclude_unset=True))
    assert again == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "image"),
        ({"image": ""}, "image"),
        ({"image": "a" * 2049}, "image"),
        ({"image": "a", "picture": "a"}, "picture"),
    ],
)
def test_images_are_pulled_ahead_by_a_waiter_that_has_an_image(asked: dict[str, Any], words: str) -> None:
    found = parse_spec(spec("1.0.0", surge={"prePull": asked}))
    assert not isinstance(found, ReleaseSpec)
    assert "surge.prePull" in str(found[0])
    assert words in str(found[0])


def test_pulling_ahead_is_no_other_version_and_off_unless_asked_for() -> None:
    plain, asked = spec("1.0.0"), spec("1.0.0", surge={"prePull": {"image": "registry/drain:1"}})
    assert digest(plain) == digest(asked)
    found, without = parse_spec(asked), parse_spec(plain)
    assert isinstance(found, ReleaseSpec)
    assert isinstance(without, ReleaseSpec)
    assert found.surge.pre_pull is not None
    assert found.surge.pre_pull.image == "registry/drain:1"
    assert without.surge.pre_pull is None
