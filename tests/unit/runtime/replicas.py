"""Replicas that share shards on one API server in memory, each with a clock of its own."""

from dataclasses import dataclass, field

from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import ApiError, Object
from conductor.runtime.lease import LeaseTerms
from conductor.runtime.shards import Shards

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
