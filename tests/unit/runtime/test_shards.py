"""Shards: two replicas side by side, takeover, fair shares, and another count of them."""

import pytest
from tests.unit.effects.memory_api import Moment, Write
from tests.unit.runtime.replicas import NAME, NAMESPACE, UIDS, World

from conductor.adapters.kube import ApiError
from conductor.runtime.shards import shard_of


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


def test_whoever_leads_again_after_a_renewal_that_took_long_is_told(world: World) -> None:
    """A pass that ended meanwhile found nobody leading and left its effect to a next leader that never came."""
    a = world.start("a", count=1)
    world.go(4)
    epoch, changes, seen = a.epoch(UIDS[0]), a.changes, list[int]()

    def slow(moment: Moment, write: Write) -> None:
        if moment == "before":
            world.now += 8.5
            seen.append(a.epoch(UIDS[0]))

    world.kube.fault = slow
    a.step()
    assert seen == [0]
    assert a.epoch(UIDS[0]) == epoch, "nobody else came"
    assert a.changes == changes + 1
