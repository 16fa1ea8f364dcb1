"""Events are written beside passes, in order for each release, and lost rather than waited for."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.unit.domain.surroundings import Inline
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import ApiError, Object
from conductor.domain.plan import Announcement
from conductor.runtime import metrics
from conductor.runtime.announcer import Announcer


def release(name: str = "cp") -> Object:
    return {"metadata": {"name": name, "namespace": "team", "uid": "u", "resourceVersion": "7"}}


def said(text: str) -> Announcement:
    return Announcement("Switching", text)


class Slow(MemoryKube):
    """Answers no write of an Event before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.notes: list[str] = []

    def create(self, kind: str, namespace: str, manifest: Object) -> Object:
        assert self.let.wait(10)
        self.notes.append(manifest["note"])
        return super().create(kind, namespace, manifest)


@pytest.fixture
def lanes() -> Iterator[list[ThreadPoolExecutor]]:
    found = [ThreadPoolExecutor(1) for _ in range(3)]
    yield found
    for lane in found:
        lane.shutdown()


def test_nobody_waits_for_an_event_and_one_release_hears_them_in_order(lanes: Any) -> None:
    kube = Slow()
    announcer = Announcer(kube, lanes)
    for number in range(5):
        announcer.tell(release(), "1", said(f"step {number}"))
    assert kube.notes == [], "the API server has taken none"
    assert announcer.waiting() == 5
    kube.let.set()
    announcer.close()
    assert kube.notes == [f"step {number}" for number in range(5)]
    assert announcer.waiting() == 0


def test_an_event_that_is_refused_is_counted_and_the_next_is_written() -> None:
    class Refusing(MemoryKube):
        def create(self, kind: str, namespace: str, manifest: Object) -> Object:
            if manifest["note"] == "refused":
                raise ApiError(403, "Forbidden", "no")
            return super().create(kind, namespace, manifest)

    kube = Refusing()
    before = metrics.EVENT_ERRORS.labels("Forbidden")._value.get()
    announcer = Announcer(kube, [Inline()])
    announcer.tell(release(), "1", said("refused"))
    announcer.tell(release(), "1", said("taken"))
    assert metrics.EVENT_ERRORS.labels("Forbidden")._value.get() == before + 1
    assert [item["note"] for item in kube.list("Event", "team")] == ["taken"]
    assert announcer.waiting() == 0


def test_where_the_api_server_stays_away_the_newest_are_lost_instead_of_piling_up(lanes: Any) -> None:
    kube = Slow()
    announcer = Announcer(kube, lanes)
    for number in range(1010):
        announcer.tell(release(), "1", said(f"step {number}"))
    assert announcer.waiting() == 1000
    kube.let.set()
    announcer.close()
    assert len(kube.notes) == 1000
