"""Reflectors keep the cache as the API server shows it, whatever happens to their watch."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from tests.unit.runtime.http_api import Store, serving

from conductor.adapters.kube import ApiError, GoneError, Kube
from conductor.api import names
from conductor.domain.snapshot import ServiceState
from conductor.observe.cache import Cache, Key
from conductor.observe.parsed import Parsed
from conductor.runtime.reflectors import Reflector, ReflectorTerms, expected, reflectors

QUICK = ReflectorTerms(watch=300, relist=3600, first_pause=0.01, longest_pause=0.05)


class Woken:
    """Counts whom the cache wakes, and lets a test wait for what it expects."""

    def __init__(self) -> None:
        self.times: Counter[Key] = Counter()
        self._changed = threading.Condition()

    def __call__(self, key: Key) -> None:
        with self._changed:
            self.times[key] += 1
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            # Some conditions are about the server's side, of which nobody is told.
            for _ in range(500):
                if condition():
                    return
                self._changed.wait(0.02)
        raise AssertionError(f"never came true; woken so far: {self.times}")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def kube(store: Store) -> Iterator[Kube]:
    with serving(store) as connection:
        yield connection


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def cache(woken: Woken) -> Cache:
    made = Cache(woken, Parsed(), ["Service"])
    for name in ("mc", "other"):
        metadata = {"name": name, "namespace": "prod", "uid": name, "resourceVersion": "1"}
        made.put_release({"metadata": metadata}, ours=True)
    return made


@pytest.fixture
def reflector(kube: Kube, cache: Cache) -> Iterator[Reflector]:
    made = Reflector(kube, "Service", None, cache, terms=QUICK)
    yield made
    made.close()


def service(store: Store, name: str, release: str | None = "mc", colour: str = "blue") -> None:
    labels = {names.LABEL_RELEASE: release} if release else {"app": "other"}
    store.put(name, labels, spec={"selector": {"colour": colour}, "ports": []})


def shown(cache: Cache, release: str = "mc") -> dict[str, str]:
    found = cache.values(("prod", release)).get("Service", {}).values()
    return {item.name: item.selector["colour"] for item in found if isinstance(item, ServiceState)}


def test_what_is_there_is_listed_in_pages_and_only_then_complete(
    store: Store, cache: Cache, kube: Kube, woken: Woken
) -> None:
    for number in range(7):
        service(store, f"s{number}")
    service(store, "foreign", release=None)
    pages = [len(page.items) for page in kube.pages("Service", None, names.LABEL_RELEASE, size=3)]
    assert pages == [3, 3, 1]
    assert not cache.complete
    made = Reflector(kube, "Service", None, cache, terms=QUICK)
    made.start()
    assert cache.wait_complete(10)
    assert sorted(shown(cache)) == [f"s{number}" for number in range(7)]
    assert cache.count("Service") == 7
    made.close()


def test_changes_come_at_once_and_wake_their_release_alone(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    service(store, "a")
    service(store, "b", release="other")
    reflector.start()
    assert cache.wait_complete(10)
    before = woken.times[("prod", "other")]
    service(store, "a", colour="green")
    woken.until(lambda: shown(cache) == {"a": "green"})
    store.delete("a")
    woken.until(lambda: shown(cache) == {})
    assert woken.times[("prod", "other")] == before
    assert store.lists == 1


def test_a_write_that_no_decision_reads_wakes_nobody(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    service(store, "a")
    reflector.start()
    assert cache.wait_complete(10)
    before = woken.times[("prod", "mc")]
    service(store, "a")
    service(store, "b")
    woken.until(lambda: "b" in shown(cache))
    assert woken.times[("prod", "mc")] == before + 1, "for b; a has a new resource version and nothing else"
    held = cache.values(("prod", "mc"))["Service"]["a"]
    assert isinstance(held, ServiceState)
    assert held.resource_version == store.objects["a"]["metadata"]["resourceVersion"]


def test_a_watch_that_breaks_goes_on_where_it_was(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    service(store, "a")
    reflector.start()
    assert cache.wait_complete(10)
    woken.until(lambda: store.watches == 1)
    store.bookmark()
    store.break_streams()
    service(store, "a", colour="green")
    woken.until(lambda: shown(cache) == {"a": "green"})
    assert store.lists == 1, "nothing was lost, so that nothing is listed again"
    assert store.watches >= 2


def test_what_was_deleted_while_the_history_was_lost_is_noticed(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    service(store, "a")
    service(store, "b")
    service(store, "c", release="other")
    reflector.start()
    assert cache.wait_complete(10)
    woken.until(lambda: store.watches == 1)
    before = woken.times.copy()
    with store.changed:
        # As one: no watch may see the deletion.
        del store.objects["a"]
        store.version += 1
        store.oldest = store.version
        store.events.clear()
        store.broken += 1
        store.changed.notify_all()
    woken.until(lambda: shown(cache) == {"b": "blue"})
    assert store.lists == 2
    assert woken.times[("prod", "mc")] == before[("prod", "mc")] + 1
    assert woken.times[("prod", "other")] == before[("prod", "other")], "what did not change wakes nobody"


def test_an_object_that_changes_hands_leaves_the_one_and_comes_to_the_other(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    service(store, "a")
    reflector.start()
    assert cache.wait_complete(10)
    service(store, "a", release="other")
    woken.until(lambda: shown(cache, "other") == {"a": "blue"})
    assert shown(cache) == {}
    service(store, "a", release=None)
    woken.until(lambda: shown(cache, "other") == {})


def test_a_server_that_refuses_is_asked_again(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    store.refuse_lists = 503
    service(store, "a")
    reflector.start()
    woken.until(lambda: store.lists >= 3)
    assert not cache.complete
    store.refuse_lists = 0
    assert cache.wait_complete(10)
    assert shown(cache) == {"a": "blue"}


def test_an_object_that_cannot_be_read_hides_no_other(
    store: Store, cache: Cache, reflector: Reflector, woken: Woken
) -> None:
    service(store, "a")
    store.put("b", {names.LABEL_RELEASE: "mc"}, spec=None)
    service(store, "c")
    reflector.start()
    assert cache.wait_complete(10)
    assert shown(cache) == {"a": "blue", "c": "blue"}
    store.put("a", {names.LABEL_RELEASE: "mc"}, spec=None)
    woken.until(lambda: shown(cache) == {"c": "blue"})
    assert store.lists == 1


def test_the_end_of_the_history_has_a_name(store: Store, kube: Kube) -> None:
    store.lose_history()
    with pytest.raises(GoneError, match="too old"):
        next(kube.watch("Service", None, "1", names.LABEL_RELEASE))


def test_one_for_each_kind_and_namespace(kube: Kube, cache: Cache) -> None:
    everywhere, two = reflectors(kube, (), cache), reflectors(kube, ("a", "b"), cache)
    assert len(two) == 2 * len(everywhere)
    assert [item.name for item in everywhere] == expected(())
    assert {item.name for item in two} == set(expected(("a", "b")))


def test_a_server_that_stays_away_is_asked_ever_less_often(
    kube: Kube, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reflector = Reflector(kube, "Service", None, cache, terms=ReflectorTerms(first_pause=0.2))
    rests: list[float] = []
    monkeypatch.setattr(reflector._closing, "wait", rests.append)
    gone = ApiError(0, "NoAnswer", "connection refused")
    for lasted in (300.0, 0.0, 0.0, 0.0, 0.0, 0.0, 60.0, 0.0):
        reflector._rest_after_break(lasted, gone)
    assert rests == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 0.2, 0.4]
