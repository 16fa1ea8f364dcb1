"""Autoscalers and disruption budgets as they are read, and what is made of it where they may not be."""

import json
from typing import Any

import pytest
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import ApiError, Object
from conductor.api import names
from conductor.domain.companion import AUTOSCALER, BUDGET
from conductor.observe.companions import other_budgets, read_companions


class Refusing(MemoryKube):
    """An API server that answers every list with this."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self._status = status

    def list(self, kind: str, namespace: str | None, labels: str = "", fields: str = "") -> list[Object]:
        raise ApiError(self._status, "Forbidden", f"cannot list {kind} in {namespace}: {labels}{fields}")


def asked(**more: Any) -> str:
    """As the operator keeps it on an autoscaler."""
    bounds = {"minReplicas": 2, "maxReplicas": 8, "metrics": [{"type": "Resource"}]}
    return json.dumps({**bounds, **more})


def beside(kind: str, asked: str, **status: Any) -> Object:
    labels = {
        names.LABEL_RELEASE: "mc",
        names.LABEL_COMPONENT: "api",
        names.LABEL_COLOUR: "green",
        names.LABEL_REVISION: "aaaaaaaaaa",
    }
    annotations = {names.ANNOTATION_ASKED: asked, names.ANNOTATION_DIGEST: "d1", names.ANNOTATION_EPOCH: "7"}
    metadata = {"name": "mc-api-green-aaaaaaaaaa", "labels": labels, "annotations": annotations}
    return {"kind": kind, "metadata": metadata, "spec": {}, "status": status}


def test_what_stands_beside_a_deployment() -> None:
    kube = MemoryKube()
    kube.put(AUTOSCALER, "prod", beside(AUTOSCALER, asked(), desiredReplicas=5))
    kube.put(BUDGET, "prod", beside(BUDGET, '{"minAvailable":"50%"}'))
    kube.put(BUDGET, "prod", {"metadata": {"name": "theirs"}, "spec": {"selector": {}}})

    scaler, budget = read_companions(kube, "prod", "mc") or ()
    assert (scaler.kind, scaler.component, scaler.revision) == (AUTOSCALER, "api", "aaaaaaaaaa")
    assert (scaler.asked, scaler.desired) == (json.loads(asked()), 5)
    assert (scaler.digest, scaler.epoch) == ("d1", 7)
    assert (budget.asked, budget.desired) == ({"minAvailable": "50%"}, 0)
    assert [item.name for item in other_budgets(kube, "prod", "mc")] == ["theirs"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 5000,
        '{"maxReplicas":8}',
        asked(minReplicas="two"),
        asked(maxReplicas=100_000),
        asked(behavior={"scaleUp": "fast"}),
    ],
)
def test_what_a_hand_wrote_there_is_nothing_asked_for(text: str) -> None:
    kube = MemoryKube()
    kube.put(AUTOSCALER, "prod", beside(AUTOSCALER, text))
    [scaler] = read_companions(kube, "prod", "mc") or ()
    assert scaler.asked is None


def test_where_they_may_not_be_read_nothing_is_known_of_them() -> None:
    assert read_companions(Refusing(403), "prod", "mc") is None
    assert other_budgets(Refusing(403), "prod", "mc") == ()
    with pytest.raises(ApiError):
        read_companions(Refusing(500), "prod", "mc")
    with pytest.raises(ApiError):
        other_budgets(Refusing(500), "prod", "mc")
