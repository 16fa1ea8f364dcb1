"""Shards: two replicas side by side, takeover, fair shares, and no release with two leaders whatever happens."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from tests.unit.effects.memory_api import MemoryKube, Moment, Write

from conductor.adapters.kube import ApiError, Object
from conductor.runtime.lease import LeaseTerms
from conductor.runtime.shards import Shards, shard_of

TERMS = LeaseTerms(duration=10.0, renew=2.0)
NAMESPACE, NAME = "mc-system", "maestro-conductor"
UIDS = [f"uid-{number}" for number in range(40)]


@dataclass
class World:
    """One API server and one time, which replicas see with clocks of their own."""

    kube: MemoryKube = field(default_factory=MemoryKube)
    now: float = 1000.0
    replicas: list["Replica"] = field(default_factory=list)

    def start(self, name: str, count: int = 2, skew: float = 0.0) -> "Replica":
        replica = Replica(self, name, count, skew)
        self.replicas.append(replica)
        return replica

    def go(self, seconds: float, *replicas: "Replica") -> None:
        """Let time pass, with every running replica (or those named) stepping as it should."""
        end = self.now + seconds
        while self.now < end:
            for replica in replicas or self.replicas:
                replica.step()
            self.now += TERMS.renew
            self.check()

    def check(self) -> None:
        """Nobody shares a release."""
        for uid in UIDS:
            leaders = {replica.name: epoch for replica in self.replicas if (epoch := replica.epoch(uid))}
            assert len(leaders) <= 1, f"{uid} is led by {leaders}"

    def leaders(self) -> dict[str, int]:
        """How many of the releases each one leads."""
        found: dict[str, int] = {}
        for uid in UIDS:
            for replica in self.replicas:
                if replica.epoch(uid):
                    found[replica.name] = found.get(replica.name, 0) + 1
        return found

    def lease(self, suffix: str = "") -> Object:
        found = self.kube.get("Lease", NAMESPACE, NAME + suffix)
        assert found is not None
        return found


class Replica:
    """One operator process; it may be away from the API server, stopped or dead."""

    def __init__(self, world: World, name: str, count: int, skew: float) -> None:
        self.world = world
        self.name = name
        self.away = False
        self.changes = 0
        self.shards = Shards(
            world.kube,
            NAMESPACE,
            NAME,
            identity=name,
            clock=lambda: world.now + skew,
            on_change=self._changed,
            count=count,
            terms=TERMS,
        )

    def _changed(self) -> None:
        self.changes += 1

    def epoch(self, uid: str) -> int:
        return self.shards.epoch(uid)

    def step(self) -> None:
        """As its thread does, answers of the API server apart."""
        if self.away:
            return
        try:
            self.shards.step()
        except ApiError:
            self.shards._publish()

    def die(self) -> None:
        self.world.replicas.remove(self)


@pytest.fixture
def world() -> World:
    return World()


def test_releases_fall_evenly_and_for_good() -> None:
    for count in (2, 3, 7):
        spread = [sum(shard_of(f"u{n}", count) == shard for n in range(2000)) for shard in range(count)]
        assert min(spread) > 0.8 * 2000 / count
    assert shard_of("6f1c2a34-0000-4000-8000-000000000001", 2) == 0, "written down: it may never change"


def test_one_alone_leads_all_shards(world: World) -> None:
    world.start("a")
    world.go(4)
    assert world.leaders() == {"a": len(UIDS)}


def test_two_share_and_neither_takes_more(world: World) -> None:
    a = world.start("a")
    world.go(10)
    b = world.start("b")
    world.go(20)
    assert set(world.leaders()) == {"a", "b"}
    assert a.shards.leads() == {0}
    assert b.shards.leads() == {1}
    before = (a.changes, b.changes)
    world.go(60)
    assert (a.changes, b.changes) == before, "nothing moves once it is fair"


def test_two_that_start_at_once_share_at_once(world: World) -> None:
    world.start("a")
    world.start("b")
    world.go(12)
    assert set(world.leaders()) == {"a", "b"}


def test_three_replicas_and_four_shards(world: World) -> None:
    for name in "abc":
        world.start(name, count=4)
    world.go(60)
    assert sorted(len(replica.shards.leads()) for replica in world.replicas) == [1, 1, 2]


def test_a_replica_too_many_stands_by(world: World) -> None:
    for name in "abc":
        world.start(name)
    world.go(30)
    assert sorted(len(replica.shards.leads()) for replica in world.replicas) == [0, 1, 1]


@pytest.mark.parametrize("victim", [0, 1])
def test_the_shards_of_one_that_dies_are_taken_over_within_fifteen_seconds(world: World, victim: int) -> None:
    world.start("a")
    world.start("b")
    world.go(30)
    dead, left = world.replicas[victim], world.replicas[1 - victim]
    epochs = {uid: dead.epoch(uid) for uid in UIDS if dead.epoch(uid)}
    kept = {uid: left.epoch(uid) for uid in UIDS if left.epoch(uid)}
    dead.die()
    world.go(14)
    assert world.leaders() == {left.name: len(UIDS)}
    assert all(left.epoch(uid) > epoch for uid, epoch in epochs.items()), "each under a higher epoch"
    assert {uid: left.epoch(uid) for uid in kept} == kept, "what it led it leads on, undisturbed"


def test_one_that_goes_in_order_hands_over_at_once(world: World) -> None:
    a = world.start("a")
    b = world.start("b")
    world.go(30)
    a.shards.close()
    a.die()
    world.go(4)
    assert world.leaders() == {"b": len(UIDS)}
    assert b.shards.leads() == {0, 1}


def test_one_that_is_suspended_finds_that_its_shard_is_led_by_another(world: World) -> None:
    a, b = world.start("a"), world.start("b")
    world.go(30)
    b.away = True
    world.go(16)
    b.away = False
    assert not any(b.epoch(uid) for uid in UIDS), "by its own clock, before it asks anybody"
    world.go(20)
    assert set(world.leaders()) == {"a", "b"}, "and gets its share again"
    assert a.shards.leads() == {0}


def test_a_holder_that_lost_sight_of_the_first_lease_stops(world: World) -> None:
    world.start("a")
    b = world.start("b")
    world.go(30)

    def refuse(moment: Moment, write: Write) -> None:
        raise ApiError(0, "NoAnswer", "the network is gone")

    world.kube.fault = refuse
    world.go(12)
    assert not any(b.epoch(uid) for uid in UIDS)
    assert world.leaders() == {}


def test_another_count_is_settled_before_anybody_works_under_it(world: World) -> None:
    a, b = world.start("a"), world.start("b")
    world.go(30)
    highest = max(a.epoch(uid) or b.epoch(uid) for uid in UIDS)
    # A rolling update: one by one they are replaced by replicas that want three shards.
    world.start("c", count=3)
    b.shards.close()
    b.die()
    world.go(20)
    assert {len(replica.shards.leads()) for replica in (a, world.replicas[-1])} == {1}, "two shards still"
    a.shards.close()
    a.die()
    world.start("d", count=3)
    world.go(6)
    assert world.leaders() == {}, "nobody works while a former holder could"
    world.go(30)
    assert sum(world.leaders().values()) == len(UIDS)
    assert sorted(len(replica.shards.leads()) for replica in world.replicas) == [1, 2]
    assert min(world.replicas[0].epoch(uid) or world.replicas[1].epoch(uid) for uid in UIDS) > highest


def test_from_one_shard_to_two_nobody_waits(world: World) -> None:
    a = world.start("a", count=1)
    world.go(10)
    assert "annotations" not in world.lease()["metadata"] or not world.lease()["metadata"]["annotations"]
    world.start("b", count=2)
    world.go(20)
    assert world.leaders() == {"a": len(UIDS)}, "one shard, as long as its holder wants one"
    a.shards.close()
    a.die()
    world.go(4)
    assert world.leaders() == {"b": len(UIDS)}
    assert world.replicas[0].shards.leads() == {0, 1}


def test_from_two_shards_to_one_the_second_is_out_of_hand_first(world: World) -> None:
    a, b = world.start("a"), world.start("b")
    world.go(30)
    c = world.start("c", count=1)
    a.shards.close()
    a.die()
    c.step()
    world.check()
    assert not any(c.epoch(uid) for uid in UIDS)
    world.go(30)
    assert world.leaders() == {"c": len(UIDS)}
    assert b.shards.leads() == frozenset()
    world.go(30)
    assert not world.lease()["metadata"].get("annotations"), "one shard needs no word"


def test_an_older_operator_that_takes_the_first_lease_leads_everything(world: World) -> None:
    world.start("a")
    b = world.start("b")
    world.go(30)
    a = world.replicas[0]
    a.shards.close()
    a.die()
    # It writes the spec anew and knows nothing of annotations.
    found = world.lease()
    spec = {**found["spec"], "holderIdentity": "older", "renewTime": "now", "leaseTransitions": 99}
    world.kube.put("Lease", NAMESPACE, {**found, "spec": spec})
    b.step()
    assert not any(b.epoch(uid) for uid in UIDS)


def test_a_lease_that_somebody_deletes_is_made_again_and_epochs_go_on(world: World) -> None:
    a = world.start("a", count=1)
    world.go(4)
    world.kube.drop("Lease", NAMESPACE, NAME)
    world.go(4)
    assert a.epoch(UIDS[0]) == 2


def test_whoever_leads_other_shards_than_before_is_told(world: World) -> None:
    a = world.start("a")
    world.go(4)
    changes = a.changes
    a.away = True
    world.now += 11
    a.away = False
    world.go(4)
    assert a.changes > changes, "what came while it did not lead was passed over and is asked for again"


class Chaos:
    """Replicas come, go, stop and lose the API server; writes hang in the air while others act."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World()
        self.born = 0
        self.hanging = False
        self.held: dict[str, tuple[str, int]] = {}
        self.changes_of_leader = 0
        for _ in range(2):
            self.birth()
        self.world.kube.fault = self.hang

    def birth(self) -> None:
        self.born += 1
        self.world.start(
            f"r{self.born}", count=self.dice.choice((1, 2, 2, 3)), skew=self.dice.uniform(-500, 500)
        )

    def hang(self, moment: Moment, write: Write) -> None:
        """A write takes its time; meanwhile everybody else goes on."""
        if moment == "after" or self.hanging or self.dice.random() > 0.15:
            return
        self.hanging = True
        writer = self.stepping
        for _ in range(self.dice.randrange(1, 4)):
            self.world.now += self.dice.uniform(0, 1.3)
            for replica in self.world.replicas:
                if replica is not writer and self.dice.random() < 0.7:
                    replica.step()
            self.check()
        self.hanging = False

    def run(self, events: int) -> None:
        for _ in range(events):
            self.event()
            self.check()

    def event(self) -> None:
        replicas, roll = self.world.replicas, self.dice.random()
        if roll < 0.03 and len(replicas) < 4:
            self.birth()
        elif roll < 0.05 and len(replicas) > 1:
            self.dice.choice(replicas).die()
        elif roll < 0.07 and len(replicas) > 1:
            leaving = self.dice.choice(replicas)
            self.stepping = leaving
            leaving.shards.close()
            leaving.die()
        elif roll < 0.10:
            frozen = self.dice.choice(replicas)
            frozen.away = not frozen.away
        elif roll < 0.12:
            self.world.now += self.dice.uniform(5, 30)
        else:
            self.world.now += self.dice.uniform(0, 2.5)
            self.stepping = self.dice.choice(replicas)
            self.stepping.step()

    def check(self) -> None:
        self.world.check()
        for uid in UIDS:
            for replica in self.world.replicas:
                epoch = replica.epoch(uid)
                if not epoch:
                    continue
                former, highest = self.held.get(uid, ("", 0))
                if former == replica.name:
                    assert epoch >= highest
                else:
                    assert epoch > highest, (
                        f"{uid}: {replica.name} leads under {epoch}, {former} had {highest}"
                    )
                    self.changes_of_leader += 1
                self.held[uid] = (replica.name, epoch)

    def calm(self) -> None:
        """Everybody is there and wants the same: everything is led again."""
        self.world.kube.fault = None
        for replica in self.world.replicas:
            replica.away = False
        self.world.go(80)
        assert sum(self.world.leaders().values()) == len(UIDS)


@pytest.mark.parametrize("seed", range(40))
def test_no_release_ever_has_two_leaders(seed: int) -> None:
    chaos = Chaos(seed)
    chaos.run(250)
    assert chaos.changes_of_leader > 20, "a quiet run shows nothing"
    chaos.calm()


def broken_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conductor.runtime.shards._IN_FLIGHT_SECONDS", -1000.0)


def broken_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conductor.runtime.lease.Seat.free", lambda _: True)


def broken_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(self: Shards) -> int:
        return self._seats[-1].transitions + 1

    monkeypatch.setattr(Shards, "_count_up", own)


@pytest.mark.parametrize("breakage", [broken_settling, broken_expiry, broken_counter])
def test_the_search_finds_what_is_broken_on_purpose(
    breakage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    breakage(monkeypatch)

    def search() -> None:
        for seed in range(60):
            Chaos(seed).run(250)

    with pytest.raises(AssertionError, match=r"led by|leads under"):
        search()
