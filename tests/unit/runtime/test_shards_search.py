"""No release ever has two leaders: replicas come, go, freeze and change their minds, writes hang in the air."""

import random
from collections.abc import Callable

import pytest
from tests.unit.effects.memory_api import Moment, Write
from tests.unit.runtime.replicas import UIDS, World

from conductor.runtime.shards import Shards

#: It takes as long as stories do.
pytestmark = pytest.mark.story


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
