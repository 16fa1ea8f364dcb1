"""Since when containers fail, as Events tell it, and what is made of it where they do not."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import ApiError, Object
from conductor.api.spec import Colour
from conductor.domain.snapshot import Pod
from conductor.observe.failures import since_when

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PULLED, STARTED = 'Failed to pull image "x": timeout', 'Error: secret "x" not found'


class Asked(MemoryKube):
    """Counts lists, and answers them with an error where it has one."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__()
        self.lists = 0
        self._status = status

    def list(self, kind: str, namespace: str | None, labels: str = "", fields: str = "") -> list[Object]:
        self.lists += 1
        if self._status is not None:
            raise ApiError(self._status, "Refused", f"cannot list {kind}")
        return super().list(kind, namespace, labels, fields)


def failing(reason: str = "ErrImagePull", placed: int = 50, name: str = "p1") -> Pod:
    placed_at = NOW - timedelta(seconds=placed)
    return Pod(
        name=name,
        uid=name,
        component="api",
        colour=Colour.GREEN,
        revision="r",
        ready=False,
        terminating=False,
        serving=True,
        created_at=placed_at,
        placed_at=placed_at,
        waiting_reason=reason,
        container="api",
    )


def told(
    kube: MemoryKube, name: str, ago: int, note: str, *, pod: str = "p1", container: str = "api"
) -> None:
    regarding = {"kind": "Pod", "name": pod, "fieldPath": f"spec.containers{{{container}}}"}
    first = (NOW - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {"metadata": {"name": name}, "reason": "Failed", "note": note, "regarding": regarding}
    kube.put("Event", "prod", {**event, "deprecatedFirstTimestamp": first})


@pytest.mark.parametrize(("reason", "ago"), [("ImagePullBackOff", 9), ("CreateContainerConfigError", 4)])
def test_the_first_failure_of_its_kind_is_told_by_the_containers_own_events(reason: str, ago: int) -> None:
    kube = MemoryKube()
    told(kube, "a", 9, PULLED)
    told(kube, "b", 5, "Error: ImagePullBackOff")
    told(kube, "c", 4, STARTED)
    told(kube, "d", 40, PULLED, pod="p2")
    told(kube, "e", 40, STARTED, container="sidecar")
    found = since_when(kube, "prod", [failing(reason)], NOW)
    assert found["p1"].failing_since == NOW - timedelta(seconds=ago)


@pytest.mark.parametrize(("placed", "since"), [(50, NOW), (601, None)])
def test_what_no_event_tells_of_began_just_now_unless_events_may_be_gone(
    placed: int, since: datetime | None
) -> None:
    found = since_when(MemoryKube(), "prod", [failing(placed=placed)], NOW)
    assert found["p1"].failing_since == since


def test_events_are_listed_once_and_only_where_a_decision_hangs_on_them() -> None:
    kube = Asked()
    assert since_when(kube, "prod", [failing(placed=20), failing("InvalidImageName")], NOW) == {}
    assert kube.lists == 0
    since_when(kube, "prod", [failing(), failing(name="p2")], NOW)
    assert kube.lists == 1


def test_where_they_may_not_be_read_the_node_tells() -> None:
    assert since_when(Asked(403), "prod", [failing()], NOW) == {}
    with pytest.raises(ApiError):
        since_when(Asked(500), "prod", [failing()], NOW)
