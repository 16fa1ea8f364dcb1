"""All Services are switched, or none: tried dry, patched against what was read, put back after a failure."""

from collections.abc import Iterable

import pytest
from tests.unit.effects.memory_api import MemoryKube, Moment, Write

from conductor.adapters.kube import ApiError, ConflictError
from conductor.api.names import ANNOTATION_EPOCH
from conductor.domain.effects import ServicePatch, SwitchServices
from conductor.effects.switch_services import HalfSwitchedError, switch_services

BLUE, GREEN = {"revision": "blue"}, {"revision": "green"}
OLD_PORTS = [{"name": "http", "port": 80, "targetPort": 8080}]
NEW_PORTS = [{"name": "http", "port": 80, "targetPort": 9090}]
NAMES = ("mc-api", "mc-gateway", "mc-web")


def three_services() -> MemoryKube:
    kube = MemoryKube()
    for name in NAMES:
        metadata = {"name": name, "annotations": {ANNOTATION_EPOCH: "1"}}
        kube.put("Service", "prod", {"metadata": metadata, "spec": {"selector": BLUE, "ports": OLD_PORTS}})
    return kube


def to_green(kube: MemoryKube, names: Iterable[str] = NAMES) -> SwitchServices:
    patches = []
    for name in names:
        found = kube.get("Service", "prod", name)
        assert found is not None
        patches.append(
            ServicePatch(
                service=name,
                resource_version=found["metadata"]["resourceVersion"],
                selector=GREEN,
                former_selector=BLUE,
                ports=tuple(NEW_PORTS),
                former_ports=tuple(OLD_PORTS),
            )
        )
    return SwitchServices(tuple(patches), epoch=2)


def selectors(kube: MemoryKube) -> list[dict[str, str]]:
    return [item["spec"]["selector"] for item in kube.list("Service", "prod")]


def ports(kube: MemoryKube) -> list[list[dict[str, object]]]:
    return [item["spec"]["ports"] for item in kube.list("Service", "prod")]


def test_all_are_tried_dry_before_the_first_is_patched() -> None:
    kube = three_services()
    switch_services(kube, "prod", to_green(kube))

    assert [(write.name, write.dry_run) for write in kube.writes] == [
        *((name, True) for name in NAMES),
        *((name, False) for name in NAMES),
    ]
    assert selectors(kube) == [GREEN] * 3
    assert ports(kube) == [NEW_PORTS] * 3
    epochs = {item["metadata"]["annotations"][ANNOTATION_EPOCH] for item in kube.list("Service", "prod")}
    assert epochs == {"2"}


def test_a_service_that_changed_since_it_was_read_stops_all() -> None:
    kube = three_services()
    effect = to_green(kube)
    kube.edit("Service", "prod", "mc-web", {"metadata": {"labels": {"by": "somebody"}}})

    with pytest.raises(ConflictError):
        switch_services(kube, "prod", effect)
    assert selectors(kube) == [BLUE] * 3
    assert all(write.dry_run for write in kube.writes)


class Refuse:
    """Refuses real patches of some Services, from the given one on."""

    def __init__(self, *calls: tuple[str, int]) -> None:
        self._calls = set(calls)
        self._seen: dict[str, int] = {}

    def __call__(self, moment: Moment, write: Write) -> None:
        if moment == "after" or write.dry_run:
            return
        self._seen[write.name] = self._seen.get(write.name, 0) + 1
        if (write.name, self._seen[write.name]) in self._calls:
            raise ApiError(500, "InternalError", "etcd is away")


@pytest.mark.parametrize("failing", NAMES)
def test_a_failure_half_way_puts_back_selectors_and_ports(failing: str) -> None:
    kube = three_services()
    effect = to_green(kube)
    kube.fault = Refuse((failing, 1))

    with pytest.raises(ApiError, match="etcd is away"):
        switch_services(kube, "prod", effect)
    assert selectors(kube) == [BLUE] * 3
    assert ports(kube) == [OLD_PORTS] * 3


def test_what_cannot_be_put_back_is_told_and_the_rest_is_put_back() -> None:
    kube = three_services()
    effect = to_green(kube)
    kube.fault = Refuse(("mc-web", 1), ("mc-gateway", 2))

    with pytest.raises(HalfSwitchedError, match="could not put back mc-gateway"):
        switch_services(kube, "prod", effect)
    assert selectors(kube) == [BLUE, GREEN, BLUE]


def test_somebody_elses_change_after_ours_is_not_overwritten_when_putting_back() -> None:
    kube = three_services()
    effect = to_green(kube)

    def meddle(moment: Moment, write: Write) -> None:
        if moment == "before" and not write.dry_run and write.name == "mc-gateway":
            kube.fault = None
            kube.edit("Service", "prod", "mc-api", {"spec": {"selector": {"revision": "theirs"}}})
            raise ApiError(500, "InternalError", "etcd is away")

    kube.fault = meddle
    with pytest.raises(HalfSwitchedError):
        switch_services(kube, "prod", effect)
    assert selectors(kube) == [{"revision": "theirs"}, BLUE, BLUE]


def test_the_same_switch_again_is_refused_as_old_and_changes_nothing() -> None:
    kube = three_services()
    effect = to_green(kube)
    switch_services(kube, "prod", effect)
    with pytest.raises(ConflictError):
        switch_services(kube, "prod", effect)
    assert selectors(kube) == [GREEN] * 3
