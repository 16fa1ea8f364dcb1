"""When a glance will do, and when everything is read."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import NAME, NAMESPACE, Story, installed
from tests.unit.domain.surroundings import Inline

from conductor.adapters.clock import ServerClock
from conductor.adapters.kube import Object
from conductor.api import names
from conductor.domain.snapshot import Snapshot
from conductor.observe.cache import Cache
from conductor.observe.gather import Samples
from conductor.observe.held import KINDS
from conductor.observe.parsed import Parsed
from conductor.runtime.sight import Seen, Sight, settings

KEY = (NAMESPACE, NAME)


def _always(_: Snapshot, __: str) -> bool:
    return True


def _never(_: Snapshot, __: str) -> bool:
    return False


class Rig:
    """A release at rest, watched without lag."""

    def __init__(self) -> None:
        self.story: Story = installed(spec())
        self.now = 1000.0
        parsed = Parsed()
        self.cache = Cache(lambda _: None, parsed)
        self.sight = Sight(self.story.kube, Inline(), self.cache, parsed, lambda: self.now)
        self.show()

    def show(self) -> None:
        for kind in KINDS:
            for obj in self.story.kube.list(kind, NAMESPACE):
                self.cache.put(kind, obj)
        self.cache.put_release(self.story.release)

    def look(self, stands: Callable[[Snapshot, str], bool] = _always) -> Seen[str] | None:
        return self.sight.look(
            KEY, lambda s: s.name, stands, **settings(ServerClock(), Samples(), 1, new_upgrades=True)
        )

    def basis(self) -> str:
        """What a look is decided on."""
        seen = self.look()
        assert seen is not None
        return seen.basis


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_release_at_rest_costs_one_read_of_its_traffic_config_map_and_then_none(rig: Rig) -> None:
    asked: list[str] = []
    get = rig.story.kube.get

    def counted(kind: str, namespace: str | None, name: str) -> Object | None:
        asked.append(f"{kind}/{name}")
        return get(kind, namespace, name)

    rig.story.kube.get = counted  # type: ignore[method-assign]
    for _ in range(5):
        assert rig.basis() == "watches"
        rig.now += 5
    assert asked == ["ConfigMap/mc-traffic"]


def test_what_may_not_stand_is_decided_again_on_a_fresh_read(rig: Rig) -> None:
    rig.look()
    rig.story.kube.drop("Service", NAMESPACE, "mc-api")
    seen = rig.look(stands=_never)
    assert seen is not None
    assert "mc-api" not in seen.snapshot.services
    old = rig.look()
    assert old is not None
    assert "mc-api" in old.snapshot.services, "the watches have not shown it yet"


def test_after_doubt_only_a_read_will_do(rig: Rig) -> None:
    rig.look()
    rig.sight.doubt(KEY)
    assert rig.basis() == "read"
    assert rig.basis() == "watches"


def test_what_was_found_to_be_old_is_read_again(rig: Rig) -> None:
    rig.look()
    rig.story.annotate("a", "b")
    rig.sight.doubt(KEY)
    seen = rig.look()
    assert seen is not None
    assert seen.release["metadata"]["resourceVersion"] == rig.story.release["metadata"]["resourceVersion"]


def test_a_release_at_rest_is_read_once_in_about_five_minutes(rig: Rig) -> None:
    rig.sight.doubt(KEY)
    assert rig.basis() == "read"
    assert 240 <= rig.sight.left(KEY) <= 360
    rig.now += rig.sight.left(KEY)
    assert rig.basis() == "read"


def test_many_releases_are_read_more_rarely_so_that_all_of_them_cost_the_same(rig: Rig) -> None:
    for number in range(999):
        rig.cache.put_release(
            rig.story.release | {"metadata": rig.story.release["metadata"] | {"name": f"r{number}"}}
        )
    rig.sight.doubt(KEY)
    assert rig.basis() == "read"
    assert 3200 <= rig.sight.left(KEY) <= 4800


def test_first_reads_are_spread_over_the_whole_time(rig: Rig) -> None:
    left = []
    for _ in range(50):
        fresh = Rig()
        fresh.look()
        left.append(fresh.sight.left(KEY))
    assert min(left) < 100
    assert max(left) > 200


def test_a_release_that_moves_is_read_twice_a_minute(rig: Rig) -> None:
    rig.story.apply(spec("1.1.0", soak="60s"))
    for _ in range(4):
        rig.story.turn()
    assert rig.story.status.upgrade is not None
    rig.sight.doubt(KEY)
    rig.look()
    assert rig.sight.left(KEY) == 30


def test_a_release_that_is_gone_is_told_so(rig: Rig) -> None:
    rig.look()
    rig.story.kube.drop(names.KIND, NAMESPACE, NAME)
    assert rig.look() is not None, "a ghost that may only wait harms nobody"
    assert rig.look(stands=_never) is None
    assert rig.cache.release(KEY) is None
    assert rig.look() is None


def test_before_everything_was_listed_a_pass_reads(rig: Rig) -> None:
    parsed = Parsed()
    rig.cache = Cache(lambda _: None, parsed, ["Pod"])
    rig.sight = Sight(rig.story.kube, Inline(), rig.cache, parsed, lambda: rig.now)
    rig.show()
    assert rig.basis() == "read"
    rig.cache.listed("Pod")
    assert rig.basis() == "watches"


def test_what_only_the_api_server_can_say_is_asked_of_it(rig: Rig) -> None:
    rig.story.apply(spec("1.1.0"))
    while rig.story.status.phase != "Preflight":
        rig.story.turn()
    rig.show()
    assert rig.basis() == "read"
    asked: Any = rig.look()
    assert asked.snapshot.other_services == ()


def test_it_is_told_how_many_releases_were_looked_at(rig: Rig) -> None:
    assert rig.sight.looked_at() == 0
    rig.look()
    rig.look()
    assert rig.sight.looked_at() == 1
