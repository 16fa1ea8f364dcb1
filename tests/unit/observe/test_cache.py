"""The cache: small values by release, news that wake and writes that do not, releases in their newest version."""

from typing import Any

import pytest
from tests.unit.domain.plane import spec

from conductor.api import names
from conductor.domain.snapshot import Pod, TrafficConfigMap
from conductor.observe.cache import Cache, Key, TrafficNote
from conductor.observe.held import Unreadable
from conductor.observe.parsed import Parsed, Record, Revisions, pack, unpack

Json = dict[str, Any]
MC: Key = ("prod", "mc")


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def cache(woken: list[Key]) -> Cache:
    return Cache(woken.append, Parsed())


def release(version: int, **more: Any) -> Json:
    metadata = {
        "name": "mc",
        "namespace": "prod",
        "uid": "u",
        "resourceVersion": str(version),
        "generation": 1,
    }
    return {"metadata": metadata | {"managedFields": ["much"]}, "spec": spec()} | more


def pod(name: str = "mc-1", version: int = 1, ready: str = "True", **labels: str) -> Json:
    label = {names.LABEL_RELEASE: "mc", names.LABEL_REVISION: "abc", names.LABEL_COLOUR: "blue"} | labels
    return {
        "metadata": {
            "name": name,
            "namespace": "prod",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-03-01T12:00:00Z",
            "labels": label,
        },
        "spec": {"containers": [{"name": "much that nobody reads" * 50}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def record(hash_: str = "abc", version: int = 1, created: str = "2026-03-01T12:00:00Z", **data: Any) -> Json:
    metadata = {
        "name": f"mc-{hash_}",
        "namespace": "prod",
        "resourceVersion": str(version),
        "creationTimestamp": created,
        "labels": {names.LABEL_RELEASE: "mc"},
    }
    return {"metadata": metadata, "data": {"hash": hash_, "spec": spec("1.0.0")} | data}


def test_a_newer_version_is_news_and_an_older_one_is_let_go(cache: Cache, woken: list[Key]) -> None:
    cache.put_release(release(9))
    cache.put_release(release(10, status={"phase": "Stable"}))
    cache.put_release(release(9))
    cache.put_release(release(10))
    assert woken == [MC, MC]
    found = cache.release(MC)
    assert found is not None
    assert found["status"] == {"phase": "Stable"}
    assert "managedFields" not in found["metadata"]
    assert found["spec"] == spec()


def test_what_a_pass_read_or_wrote_itself_wakes_nobody_not_even_when_it_is_shown(
    cache: Cache, woken: list[Key]
) -> None:
    cache.put_release(release(10), ours=True)
    cache.put_release(release(10))
    assert woken == []
    assert cache.releases() == ([MC], [])


@pytest.mark.parametrize(
    ("status", "deleted", "moves"),
    [
        ({}, False, True),
        ({"observedGeneration": 1}, False, False),
        ({"observedGeneration": 1, "upgrade": {"id": "u1"}}, False, True),
        ({"observedGeneration": 0}, False, True),
        ({"observedGeneration": 1}, True, True),
    ],
    ids=["new", "at rest", "upgrading", "spec changed", "deleted"],
)
def test_a_new_leader_is_told_which_releases_move(
    cache: Cache, status: Json, deleted: bool, moves: bool
) -> None:
    found = release(1, status=status)
    found["metadata"] |= {"deletionTimestamp": "2026-03-01T12:00:00Z"} if deleted else {}
    cache.put_release(found)
    assert cache.releases() == (([MC], []) if moves else ([], [MC]))


def test_a_release_that_is_gone_is_forgotten_with_what_was_read_for_it(
    cache: Cache, woken: list[Key]
) -> None:
    cache.put_release(release(10), ours=True)
    cache.note_traffic(MC, TrafficNote("mc-traffic", TrafficConfigMap("mc-traffic", "blue")))
    cache.put("Pod", pod())
    woken.clear()
    cache.gone(MC)
    assert woken == [MC], "one more pass ends what is measured for it"
    assert (cache.release(MC), cache.traffic(MC), cache.releases()) == (None, None, ([], []))
    assert set(cache.values(MC)["Pod"]) == {"mc-1"}, "its pods outlive it"


def test_objects_of_a_release_that_nobody_showed_wake_nobody(cache: Cache, woken: list[Key]) -> None:
    cache.put("Pod", pod())
    cache.drop("Pod", "prod", "mc-1")
    assert woken == []
    cache.put("Pod", pod())
    cache.put_release(release(10))
    assert woken == [MC], "now all of it is news at once"


def test_only_what_a_decision_reads_is_news(cache: Cache, woken: list[Key]) -> None:
    cache.put_release(release(10), ours=True)
    cache.put("Pod", pod(version=1))
    cache.put("Pod", pod(version=2))
    assert woken == [MC]
    held = cache.values(MC)["Pod"]["mc-1"]
    assert isinstance(held, Pod)
    assert held.resource_version == "2", "what is written must name the newest version"
    cache.put("Pod", pod(version=3, ready="False"))
    assert woken == [MC, MC]


def test_an_object_that_ends_or_goes_is_news_once(cache: Cache, woken: list[Key]) -> None:
    cache.put_release(release(10), ours=True)
    cache.put("Pod", pod())
    ended = pod(version=2)
    ended["status"] = {"phase": "Succeeded"}
    cache.put("Pod", ended)
    cache.drop("Pod", "prod", "mc-1")
    cache.drop("Pod", "prod", "never-seen")
    assert woken == [MC, MC]
    assert cache.count("Pod") == 0


def test_a_list_of_one_namespace_says_nothing_about_another(cache: Cache) -> None:
    other = pod("elsewhere")
    other["metadata"]["namespace"] = "test"
    cache.put("Pod", pod())
    cache.put("Pod", other)
    cache.retain("Pod", "prod", set())
    assert not cache.values(MC)
    assert set(cache.values(("test", "mc"))["Pod"]) == {"elsewhere"}
    cache.retain("Pod", None, set())
    assert cache.values(("test", "mc")) == {}


def test_a_copy_is_handed_out(cache: Cache) -> None:
    cache.put("Pod", pod())
    before = cache.values(MC)
    cache.drop("Pod", "prod", "mc-1")
    assert set(before["Pod"]) == {"mc-1"}


def test_a_revision_is_parsed_once_and_again_when_it_was_pushed_out() -> None:
    parsed = Parsed(kept=1)
    first, second = parsed.record(record("aaa")), parsed.record(record("bbb"))
    assert first is not None
    assert second is not None
    assert parsed.revision(second) is parsed.revision(second)
    assert parsed.revision(first).hash == "aaa"
    assert parsed.revision(second).version == "1.0.0"


def test_a_record_that_this_operator_cannot_read_is_not_among_the_revisions(cache: Cache) -> None:
    cache.put("ControllerRevision", record("new", spec={"fromTheFuture": 1}))
    assert cache.values(MC) == {"ControllerRevision": {"mc-new": Unreadable("mc-new")}}


def test_revisions_come_in_the_order_in_which_they_were_made() -> None:
    parsed = Parsed()
    made = [
        parsed.record(record("ccc", created="2026-03-01T10:00:00Z")),
        parsed.record(record("aaa", created="2026-03-01T12:00:00Z")),
        parsed.record(record("bbb", created="2026-03-01T11:00:00Z")),
    ]
    revisions = Revisions(parsed, [item for item in made if isinstance(item, Record)])
    assert list(revisions) == ["ccc", "bbb", "aaa"]
    assert "bbb" in revisions
    assert "ddd" not in revisions
    assert revisions.get("ddd") is None
    assert revisions["aaa"].hash == "aaa"


def test_packing_loses_nothing() -> None:
    value = {"a": ["ü", 1, 2.5, None, {"b": True}]}
    assert unpack(pack(value)) == value
