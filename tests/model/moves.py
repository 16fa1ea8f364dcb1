"""Every step from a state: passes whole, cut off or late, the environment's fair moves, and disturbances."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model import bounds as kinds
from tests.model.environment import HOURS, SECONDS, Environment
from tests.model.passes import Decision, Operator, moved_between
from tests.model.promises import Promises
from tests.model.world import RELEASE, UNPROVEN, Cluster, Hand, Health, World
from tests.model.writes import MADE, Outcome

#: Steps that happen sooner or later where nobody disturbs; all other kinds are disturbances and cost.
PASS, FAIR = "operator", "fair"


class Move(NamedTuple):
    """One step."""

    kind: str
    label: str
    world: World

    @property
    def fair(self) -> bool:
        return self.kind in (PASS, FAIR)


class Moves:
    """The transitions of one configuration. Making one checks its promises and raises BrokenPromiseError."""

    def __init__(self, operator: Operator, promises: Promises) -> None:
        self.operator = operator
        self.promises = promises
        self.environment = Environment(operator)
        self._bounds = operator.bounds

    def from_(self, world: World) -> Iterator[Move]:
        """Every step that may be next."""
        hand = world.hand
        if hand is None or hand.deposed:
            yield from self._passes(world)
        if hand is not None:
            yield from self._hand(world, hand)
            if not hand.deposed and hand.age >= self._bounds.stale_age:
                return
        for label, cluster, marks in self.environment.fair(world.cluster, hand.status if hand else None):
            yield Move(FAIR, label, self._elsewhere(world, cluster, marks))
        for kind, (label, cluster, marks) in self.environment.disturbances(world.cluster, world.spent):
            yield Move(kind, label, self._spend(self._elsewhere(world, cluster, marks), kind))
        yield from self._leaders(world)

    def decide(self, cluster: Cluster) -> Decision:
        """The decision of one pass; where it is new, its promises are checked."""
        found = self.operator.known(cluster)
        if found is None:
            thought = self.operator.think(cluster)
            self.promises.on_decision(cluster, thought)
            found = thought.decision
            self.operator.remember(cluster, found)
        return found

    def _passes(self, world: World) -> Iterator[Move]:
        cluster, operator = world.cluster, self.operator
        decision = self.decide(cluster)
        if decision.status is None and decision.write is None:
            return
        written = operator.with_status(cluster, decision.status, decision.write, decision.switches)
        told = decision.told
        if decision.write is None:
            yield Move(PASS, told, self._ours(world, written, decision))
        else:
            outcome = operator.api.make(written, decision.write)
            self.promises.on_write(written, outcome, decision.write, told)
            yield Move(PASS, told, self._ours(world, outcome.cluster, decision))
            if decision.status is not None and self._may(kinds.CRASH, world):
                yield self._cut_off(world, written, decision)
            if self._may(kinds.HALF, world):
                for half in operator.api.make_half(written, decision.write):
                    yield self._half(world, half, decision)
        if world.hand is None and self._may(kinds.STALE, world):
            held = Hand(decision.status, decision.write, decision.switches)
            yield Move(
                kinds.STALE,
                f"{told} | decided, not made yet",
                self._spend(world._replace(hand=held), kinds.STALE),
            )

    def _cut_off(self, world: World, written: Cluster, decision: Decision) -> Move:
        """The operator dies between the two writes of a pass."""
        operator, when = self.operator, "after the status write"
        if operator.effect_first and decision.write is not None:
            written, when = (
                operator.api.make(world.cluster, decision.write).cluster,
                "before the status write",
            )
        label = f"{decision.told} | the operator dies {when}"
        return Move(
            kinds.CRASH, label, self._spend(self._ours(world, forgotten(written), decision), kinds.CRASH)
        )

    def _half(self, world: World, half: Outcome, decision: Decision) -> Move:
        self.promises.on_half(world.cluster, half, decision.told)
        cluster = forgotten(half.cluster) if half.result == "crash" else half.cluster
        return Move(
            kinds.HALF,
            f"{decision.told} | {half.note}",
            self._spend(self._ours(world, cluster, decision), kinds.HALF),
        )

    def _hand(self, world: World, hand: Hand) -> Iterator[Move]:
        """The pass that was held back goes on."""
        cluster, operator = world.cluster, self.operator
        who = "the deposed leader" if hand.deposed else "the late pass"
        if hand.status is not None:
            if RELEASE in hand.moved:
                yield Move(FAIR, f"{who} may not write its status", world._replace(hand=None))
                return
            self.promises.on_status(hand)
            stored = operator.with_status(cluster, hand.status, hand.write, hand.switches, hand.moved)
            written = operator.tidy(stored)
            left = hand._replace(status=None, switches=False) if hand.write is not None else None
            yield Move(FAIR, f"{who} writes its status", world._replace(cluster=written, hand=left))
            return
        assert hand.write is not None
        outcome = operator.api.make(cluster, hand.write, hand.moved)
        told = f"{who} makes {hand.write.kind} {hand.write.items}: {outcome.result}"
        self.promises.on_write(cluster, outcome, hand.write, told, hand)
        made = operator.tidy(outcome.cluster)
        yield Move(FAIR, told, world._replace(cluster=made, hand=None))

    def _leaders(self, world: World) -> Iterator[Move]:
        if not self._may(kinds.LEADER, world):
            return
        statuses = self.operator.statuses
        cluster = forgotten(unclaimed(world.cluster))
        cluster = cluster._replace(status=statuses.deposed(cluster.status))
        hand = world.hand
        if hand is not None and not hand.deposed:
            status = statuses.deposed(hand.status) if hand.status is not None else None
            write = hand.write._replace(stamped=False) if hand.write is not None else None
            hand = hand._replace(deposed=True, status=status, write=write, age=0)
        new = World(self.operator.tidy(cluster), hand, world.spent)
        if new != world:
            yield Move(kinds.LEADER, "a new leader takes over", self._spend(new, kinds.LEADER))

    def _ours(self, world: World, cluster: Cluster, decision: Decision) -> World:
        """After a pass of the present leader, beside what an old one may still hold."""
        hand = world.hand
        if hand is not None:
            moved = hand.moved | moved_between(world.cluster, cluster)
            if decision.status is not None or decision.stored:
                moved |= {RELEASE}
            hand = hand._replace(moved=moved)
        return World(self.operator.tidy(cluster), hand, world.spent)

    def _elsewhere(self, world: World, cluster: Cluster, marks: frozenset[str]) -> World:
        """After a move of somebody else."""
        hand = world.hand
        if hand is not None:
            moved = hand.moved | moved_between(world.cluster, cluster) | (marks - {SECONDS, HOURS})
            status = hand.status
            if status is not None and marks & {SECONDS, HOURS}:
                status = self.operator.statuses.aged(status, late=HOURS in marks)
            age = hand.age if hand.deposed else hand.age + 1
            hand = hand._replace(moved=moved, status=status, age=age)
        return World(self.operator.tidy(cluster), hand, world.spent)

    def _may(self, kind: str, world: World) -> bool:
        return self._bounds.may(kind, world.spent)

    def _spend(self, world: World, kind: str) -> World:
        index = kinds.DISTURBANCES.index(kind)
        spent = tuple(number + (place == index) for place, number in enumerate(world.spent))
        return world._replace(spent=spent)


def forgotten(cluster: Cluster) -> Cluster:
    """What an operator that begins anew does not know any more: its samples."""
    services = tuple(
        service if service.proof == UNPROVEN else service._replace(proof=UNPROVEN)
        for service in cluster.services
    )
    preview = cluster.preview if cluster.preview == "bad" else ""
    # What is bad is so for whoever asks anew.
    health = Health.BAD if cluster.health == Health.BAD else Health.NONE
    return cluster._replace(health=health, preview=preview, services=services)


def unclaimed(cluster: Cluster) -> Cluster:
    """The same objects as a leader of a newer epoch finds them."""
    workloads = tuple(
        workload._replace(claimed=False, pods=tuple(pod._replace(claimed=False) for pod in workload.pods))
        for workload in cluster.workloads
    )
    services = tuple(
        service._replace(claimed=False) if service.selects else service for service in cluster.services
    )
    return cluster._replace(workloads=workloads, services=services, published_claimed=False)


__all__ = ["FAIR", "MADE", "PASS", "Move", "Moves", "forgotten"]
