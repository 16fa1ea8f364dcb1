"""Routes are switched with Services as one effect; of a route only backends and our annotations are touched."""

import json
from typing import Any

import pytest
from tests.unit.domain.plane import http_route
from tests.unit.effects.memory_api import MemoryKube, Moment, Write

from conductor.adapters.kube import ApiError, ConflictError
from conductor.api.names import ANNOTATION_BACKENDS, ANNOTATION_EPOCH, ANNOTATION_PREVIEW
from conductor.domain.effects import RoutePatch, ServicePatch, SwitchServices
from conductor.effects.switch_services import switch_services

FORMER: tuple[dict[str, Any], ...] = tuple(http_route()["spec"]["rules"][0]["backendRefs"])
NEW = ({"name": "mc-api-blue", "port": 80, "weight": 0}, {"name": "mc-api-green", "port": 80, "weight": 100})
KEPT = json.dumps({"0": list(FORMER)})


def with_a_route(**annotations: str) -> MemoryKube:
    kube = MemoryKube()
    item = http_route("mc", "mc-api", "docs")
    if annotations:
        item["metadata"]["annotations"] = {key.replace("_", "/"): value for key, value in annotations.items()}
    kube.put("HTTPRoute", "prod", item)
    metadata = {"name": "mc-api", "annotations": {ANNOTATION_EPOCH: "1"}}
    kube.put("Service", "prod", {"metadata": metadata, "spec": {"selector": {"a": "blue"}, "ports": []}})
    return kube


def route(kube: MemoryKube) -> dict[str, Any]:
    found = kube.get("HTTPRoute", "prod", "mc")
    assert found is not None
    return found


def moved(kube: MemoryKube, **more: Any) -> SwitchServices:
    found, service = route(kube), kube.get("Service", "prod", "mc-api")
    assert service is not None
    patch = RoutePatch(
        route="mc",
        resource_version=found["metadata"]["resourceVersion"],
        generation=found["metadata"]["generation"],
        services=("mc-api",),
        backends={0: NEW},
        former_backends={0: FORMER},
        annotated="annotations" in found["metadata"],
        **{"kept": KEPT, **more},
    )
    version = service["metadata"]["resourceVersion"]
    services = (ServicePatch("mc-api", version, {"a": "green"}, {"a": "blue"}),)
    return SwitchServices(services, epoch=2, routes=(patch,))


@pytest.mark.parametrize("annotations", [{}, {"example.org_team": "edge"}], ids=["no annotations", "others'"])
def test_only_backends_and_our_annotations_change(annotations: dict[str, str]) -> None:
    kube = with_a_route(**annotations)
    before = route(kube)
    switch_services(kube, "prod", moved(kube))
    after = route(kube)

    rules = [before["spec"]["rules"][0] | {"backendRefs": list(NEW)}, before["spec"]["rules"][1]]
    assert after["spec"] == before["spec"] | {"rules": rules}
    theirs = before["metadata"].get("annotations") or {}
    ours = {ANNOTATION_EPOCH: "2", ANNOTATION_BACKENDS: KEPT}
    assert after["metadata"]["annotations"] == theirs | ours
    assert [(write.kind, write.dry_run) for write in kube.writes] == [
        ("Service", True),
        ("HTTPRoute", True),
        ("Service", False),
        ("HTTPRoute", False),
    ]


def test_what_is_given_back_leaves_no_word_of_it_behind() -> None:
    kube = with_a_route()
    switch_services(kube, "prod", moved(kube))
    given = moved(kube, kept=None, former_kept=KEPT)
    switch_services(kube, "prod", SwitchServices((), 2, given.routes))
    assert ANNOTATION_BACKENDS not in route(kube)["metadata"]["annotations"]


def test_a_route_that_changed_since_it_was_read_stops_all() -> None:
    kube = with_a_route()
    effect = moved(kube)
    kube.edit("HTTPRoute", "prod", "mc", {"spec": {"hostnames": ["other.example.org"]}})
    with pytest.raises(ConflictError):
        switch_services(kube, "prod", effect)
    assert all(write.dry_run for write in kube.writes)


@pytest.mark.parametrize("refused", ["HTTPRoute", "Service"])
def test_a_failure_puts_back_what_was_written_before_it(refused: str) -> None:
    kube = with_a_route()
    other = http_route("other", "mc-api")
    kube.put("HTTPRoute", "prod", other)
    effect = moved(kube)
    [first] = effect.routes
    found = kube.get("HTTPRoute", "prod", "other")
    assert found is not None
    second = RoutePatch(
        "other", found["metadata"]["resourceVersion"], 1, ("mc-api",), {0: NEW}, {0: FORMER}, annotated=False
    )
    before = route(kube)["spec"]

    def fault(moment: Moment, write: Write) -> None:
        last = ("HTTPRoute", "other") if refused == "HTTPRoute" else ("Service", "mc-api")
        if moment == "before" and not write.dry_run and (write.kind, write.name) == last:
            raise ApiError(500, "InternalError", "etcd is away")

    kube.fault = fault
    with pytest.raises(ApiError, match="etcd is away"):
        switch_services(kube, "prod", SwitchServices(effect.patches, 2, (first, second)))
    service = kube.get("Service", "prod", "mc-api")
    assert service is not None
    assert service["spec"]["selector"] == {"a": "blue"}
    assert route(kube)["spec"] == before
    assert ANNOTATION_BACKENDS not in route(kube)["metadata"].get("annotations", {})


MARKED = {
    "matches": [{"headers": [{"type": "Exact", "name": "X-Preview", "value": "candidate"}]}],
    "backendRefs": [NEW[1]],
}


def previewing(kube: MemoryKube, *more: dict[str, Any]) -> SwitchServices:
    rules = route(kube)["spec"]["rules"]
    return moved(kube, kept="", appended=(MARKED, *more), former_rules=tuple(rules), preview="known by")


def test_rules_for_previews_are_put_behind_all_others_and_taken_out_from_between_them() -> None:
    kube = with_a_route()
    before = route(kube)["spec"]["rules"]
    switch_services(kube, "prod", previewing(kube, {**MARKED, "name": "second"}))
    first, docs, *marked = route(kube)["spec"]["rules"]
    assert (first["backendRefs"], docs, marked) == (
        list(NEW),
        before[1],
        [MARKED, {**MARKED, "name": "second"}],
    )
    assert route(kube)["metadata"]["annotations"][ANNOTATION_PREVIEW] == "known by"

    behind = {"backendRefs": [{"name": "billing", "port": 80}]}
    kube.edit("HTTPRoute", "prod", "mc", {"spec": {"rules": [*route(kube)["spec"]["rules"], behind]}})
    rules = tuple(route(kube)["spec"]["rules"])
    ended = moved(kube, kept="", removed=(2, 3), former_rules=rules, preview=None, former_preview="known by")
    switch_services(kube, "prod", ended)
    assert route(kube)["spec"]["rules"] == [first, docs, behind]
    assert ANNOTATION_PREVIEW not in route(kube)["metadata"]["annotations"]


@pytest.mark.parametrize("standing", [False, True], ids=["appended", "removed"])
def test_a_failure_puts_rules_for_previews_back_as_they_were(standing: bool) -> None:
    kube = with_a_route()
    kube.put("HTTPRoute", "prod", http_route("other", "mc-api"))
    effect = previewing(kube)
    if standing:
        switch_services(kube, "prod", effect)
        rules = tuple(route(kube)["spec"]["rules"])
        effect = moved(
            kube, kept="", removed=(2,), former_rules=rules, preview=None, former_preview="known by"
        )
    before = route(kube)

    def fault(moment: Moment, write: Write) -> None:
        if moment == "before" and not write.dry_run and write.name == "other":
            raise ApiError(500, "InternalError", "etcd is away")

    kube.fault = fault
    found = kube.get("HTTPRoute", "prod", "other")
    assert found is not None
    version = found["metadata"]["resourceVersion"]
    second = RoutePatch("other", version, 1, ("mc-api",), {0: NEW}, {0: FORMER}, annotated=False)
    with pytest.raises(ApiError, match="etcd is away"):
        switch_services(kube, "prod", SwitchServices(effect.patches, 2, (*effect.routes, second)))
    assert route(kube)["spec"] == before["spec"]
    kept = before["metadata"].get("annotations", {}).get(ANNOTATION_PREVIEW)
    assert route(kube)["metadata"]["annotations"].get(ANNOTATION_PREVIEW) == kept
