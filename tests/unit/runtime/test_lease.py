"""Leadership of one shard: taken only from who was silent for the lease's whole time; each has an epoch of its own."""

import threading
from dataclasses import dataclass, field

import pytest
from tests.unit.effects.memory_api import MemoryKube, Moment, Write

from conductor.adapters.kube import ApiError
from conductor.runtime.lease import LeaseTerms
from conductor.runtime.shards import Shards, epoch_by_clock

TERMS = LeaseTerms(duration=10.0, renew=2.0)


@dataclass
class Candidate:
    """One operator process with a monotonic clock of its own."""

    kube: MemoryKube
    name: str
    now: float = 1000.0
    #: Seconds since 1970; where nobody looks at it, long before the first epoch.
    wall: float = 0.0
    changes: list[int] = field(default_factory=list)
    leads: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.shards = Shards(
            self.kube,
            namespace="mc-system",
            name="maestro-conductor",
            identity=self.name,
            clock=lambda: self.now,
            on_change=self._changed,
            terms=TERMS,
            forgotten=lambda: epoch_by_clock(self.wall),
        )

    def _changed(self) -> None:
        if self.epoch or self.changes:
            self.changes.append(self.epoch)
        if self.epoch:
            self.leads.set()

    @property
    def epoch(self) -> int:
        return self.shards.epoch("any release")

    def step(self, seconds: float = 0.0) -> int:
        """Let time pass and compete once."""
        self.now += seconds
        self.shards.step()
        return self.epoch


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube()


def lease(kube: MemoryKube) -> dict[str, object]:
    found = kube.get("Lease", "mc-system", "maestro-conductor")
    assert found is not None
    spec: dict[str, object] = found["spec"]
    return spec


def test_the_first_one_leads_at_once_and_renews(kube: MemoryKube) -> None:
    a = Candidate(kube, "a")
    assert a.step() == 1
    for _ in range(20):
        assert a.step(2) == 1
    assert a.changes == [1]
    assert lease(kube)["holderIdentity"] == "a"


def test_a_second_one_waits_while_the_first_renews(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.step()
    for _ in range(20):
        a.step(2)
        assert b.step(2) == 0
    assert b.changes == []


def test_a_lease_is_taken_over_only_after_it_was_seen_unchanged_for_its_whole_time(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.step()
    assert b.step() == 0, "seen for the first time: whatever its times say, it may have been renewed now"
    assert b.step(9.9) == 0
    assert b.step(0.1) == 2, "the epoch rises"
    assert lease(kube)["holderIdentity"] == "b"
    assert lease(kube)["leaseTransitions"] == 2


def test_the_clocks_of_two_machines_need_not_agree(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a", now=5.0), Candidate(kube, "b", now=1e9)
    a.step()
    b.step()
    for _ in range(5):
        a.step(2)
        assert b.step(2) == 0


def test_a_leader_that_cannot_renew_stops_before_another_may_begin(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.step()
    b.step()

    def away(moment: Moment, write: Write) -> None:
        raise ApiError(0, "NoAnswer", "the network is gone")

    kube.fault = away
    a.now += 9.9
    with pytest.raises(ApiError):
        a.shards.step()
    assert a.epoch == 1
    a.now += 0.1
    assert a.epoch == 0, "by its own clock, without asking anybody"
    kube.fault = None
    assert b.step(10.0) == 2


def test_a_suspended_leader_finds_that_it_lost(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.step()
    b.step()
    b.step(10)
    assert a.step(3600) == 0
    assert a.changes == [1, 0]
    assert lease(kube)["holderIdentity"] == "b"


def test_a_suspended_leader_may_lead_again_under_a_new_epoch_only(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.step()
    b.step()
    b.step(10)
    a.step(30)
    assert a.step(10) == 3
    assert b.step(2) == 0
    assert (a.changes, b.changes) == ([1, 0, 3], [2, 0])


def test_a_process_that_restarts_under_its_old_name_is_a_new_leader(kube: MemoryKube) -> None:
    Candidate(kube, "a").step()
    assert Candidate(kube, "a").step() == 2


def test_two_that_take_over_at_once_do_not_both_lead(kube: MemoryKube) -> None:
    Candidate(kube, "old").step()
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.step()
    b.step()
    a.now += 10
    b.now += 10

    def other_was_faster(moment: Moment, write: Write) -> None:
        if moment == "before":
            kube.fault = None
            b.step()

    kube.fault = other_was_faster
    assert a.step() == 0
    assert b.epoch == 2


def test_two_that_create_the_lease_at_once_do_not_both_lead(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")

    def other_was_faster(moment: Moment, write: Write) -> None:
        if moment == "before":
            kube.fault = None
            b.step()

    kube.fault = other_was_faster
    assert (a.step(), b.epoch) == (0, 1)


def test_a_lease_that_is_given_back_is_taken_without_waiting(kube: MemoryKube) -> None:
    a, b = Candidate(kube, "a"), Candidate(kube, "b")
    a.shards.start()
    assert a.leads.wait(timeout=5)
    a.shards.close()
    assert lease(kube)["holderIdentity"] == ""
    assert b.step() == 2


def test_a_lease_that_was_deleted_while_nobody_ran_begins_above_every_epoch_there_was(
    kube: MemoryKube,
) -> None:
    wall = 1_790_000_000.0
    first, second = Candidate(kube, "a", wall=wall), Candidate(kube, "b", wall=wall)
    first.step()
    second.step()
    former = second.step(10)
    assert former > first.epoch
    kube.drop("Lease", "mc-system", "maestro-conductor")
    later = Candidate(kube, "c", wall=wall + 20)

    assert later.step() > former
    assert epoch_by_clock(wall + 20) < 2**31, "the field has 31 bits"


def test_a_new_lease_says_so_in_the_number_that_people_see(kube: MemoryKube) -> None:
    candidate = Candidate(kube, "a", wall=1_790_000_000.0)
    assert candidate.step() == epoch_by_clock(1_790_000_000.0) + 1
    kube.drop("Lease", "mc-system", "maestro-conductor")
    assert candidate.step() == candidate.epoch == epoch_by_clock(1_790_000_000.0) + 2, "this one remembers"
