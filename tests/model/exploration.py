"""Breadth-first through every state of a configuration, then backwards from the good ends through fair steps."""

import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.model.beginnings import beginning
from tests.model.bounds import CRASH, Bounds
from tests.model.broken import LIVENESS, BrokenPromiseError
from tests.model.environment import HOURS_PASS
from tests.model.moves import PASS, Moves
from tests.model.passes import Operator
from tests.model.promises import Promises
from tests.model.world import ABSENT, World, service_key
from tests.model.writes import Api

_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Counterexample:
    """A path to a state or a step in which a promise is broken."""

    number: int
    text: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        promise = f"invariant {self.number}" if self.number != LIVENESS else "liveness"
        path = "\n".join(f"  {place:3} {step}" for place, step in enumerate(self.steps, 1))
        return f"{promise}: {self.text}\n{path}"


@dataclass
class Explored:
    """What an exploration saw."""

    bounds: Bounds
    states: int = 0
    transitions: int = 0
    depth: int = 0
    seconds: float = 0.0
    decisions: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    counterexample: Counterexample | None = None


class Exploration:
    """One configuration, explored once."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        api: Api | None = None,
        effect_first: bool = False,
        most: int | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.bounds = bounds
        self.operator = Operator(bounds, api, effect_first=effect_first)
        self.promises = Promises(self.operator)
        self.moves = Moves(self.operator, self.promises)
        self.worlds: list[World] = []
        self._most = most
        self._tell = tell
        self._number: dict[World, int] = {}
        self._parent = array("l")
        self._label: list[str] = []
        self._depth = array("l")
        #: Fair steps, from and to; in the second pair those in which no patience comes to its end.
        self._fair = _Edges()
        self._prompt = _Edges()
        #: Where a pass began, what it comes to whole and cut off, and the words for that.
        self._last: list[int] = []
        self._cut: list[tuple[int, int, int, str]] = []

    def run(self) -> Explored:
        """Explore all of it, or until a promise is broken."""
        started = time.process_time()
        result = Explored(self.bounds)
        try:
            self._explore()
            self._every_state_ends_well(result)
            self._crashes_change_no_end()
        except _FoundError as found:
            result.counterexample = found.counterexample
        except BrokenPromiseError as broken:
            steps = (*broken.before, broken.told)
            result.counterexample = Counterexample(broken.number, str(broken), steps)
        result.states = len(self.worlds)
        result.depth = max(self._depth, default=0)
        result.decisions = self.operator.decisions
        result.transitions = self._transitions
        result.seconds = time.process_time() - started
        return result

    _transitions = 0

    def _explore(self) -> None:
        self._add(beginning(self.moves), -1, "")
        told_at = time.monotonic()
        at = 0
        while at < len(self.worlds):
            if self._most is not None and len(self.worlds) >= self._most:
                return
            self._expand(at)
            at += 1
            if time.monotonic() - told_at > _PROGRESS_SECONDS:
                told_at = time.monotonic()
                self._tell(f"{self.bounds.name}: {len(self.worlds)} states, {len(self.worlds) - at} to go")

    def _expand(self, at: int) -> None:
        world = self.worlds[at]
        whole = -1
        try:
            for move in self.moves.from_(world):
                self._transitions += 1
                number = self._number.get(move.world)
                if number is None:
                    number = self._add(move.world, at, move.label)
                    self.promises.on_state(move.world.cluster)
                if move.fair:
                    self._fair.add(at, number)
                    if move.label != HOURS_PASS:
                        self._prompt.add(at, number)
                if move.kind == PASS:
                    whole = number
                elif move.kind == CRASH:
                    self._cut.append((at, whole, number, move.label))
        except BrokenPromiseError as broken:
            last = (broken.told,) if broken.told else ()
            raise _FoundError(Counterexample(broken.number, str(broken), (*self.path(at), *last))) from broken

    def _add(self, world: World, parent: int, label: str) -> int:
        number = len(self.worlds)
        self._number[world] = number
        self.worlds.append(world)
        self._parent.append(parent)
        self._label.append(label)
        self._depth.append(self._depth[parent] + 1 if parent >= 0 else 0)
        return number

    def path(self, at: int) -> tuple[str, ...]:
        """The steps that led to a state."""
        steps: list[str] = []
        while at >= 0 and self._parent[at] >= 0:
            steps.append(self._label[at])
            at = self._parent[at]
        return tuple(reversed(steps))

    # the explored graph

    def _every_state_ends_well(self, result: Explored) -> None:
        if self._most is not None and len(self.worlds) >= self._most:
            return
        before = self._fair.before(len(self.worlds))
        last = self._lasting(before)
        for at in last:
            end = self._end(at)
            result.ends[end] = result.ends.get(end, 0) + 1
        reached = bytearray(len(self.worlds))
        for at in last:
            reached[at] = 1
        waiting = list(last)
        while waiting:
            at = waiting.pop()
            for former in before(at):
                if not reached[former]:
                    reached[former] = 1
                    waiting.append(former)
        lost = next((at for at, ends_well in enumerate(reached) if not ends_well), None)
        if lost is not None:
            told = self.moves.decide(self.worlds[lost].cluster).told
            text = "no fair continuation comes to Stable or to a named Stalled"
            raise _FoundError(Counterexample(LIVENESS, text, (*self.path(lost), f"for ever: {told}")))

    def _lasting(self, before: Callable[[int], Iterator[int]]) -> list[int]:
        """Good ends that no fair step leaves again: what stalls for a moment only is no end."""
        good = bytearray(bool(self._end(at)) for at in range(len(self.worlds)))
        waiting = [to for from_, to in self._fair if good[from_] and not good[to]]
        while waiting:
            at = waiting.pop()
            for former in before(at):
                if good[former]:
                    good[former] = 0
                    waiting.append(former)
        self._last = [at for at, lasts in enumerate(good) if lasts]
        return self._last

    def _end(self, at: int) -> str:
        world = self.worlds[at]
        return "" if world.hand is not None else self.moves.decide(world.cluster).settled

    def _crashes_change_no_end(self) -> None:
        """Whatever end can be reached after a whole pass can be reached after one that was cut off, and no other.

        A crash costs time: ends that come of somebody's patience being over are left out.
        """
        if not self._cut:
            return
        before = self._prompt.before(len(self.worlds))
        bit: dict[object, int] = {}
        ends = [0] * len(self.worlds)
        waiting: list[int] = []
        for at in self._last:
            ends[at] = 1 << bit.setdefault(self._ending(at), len(bit))
            waiting.append(at)
        while waiting:
            at = waiting.pop()
            for former in before(at):
                if ends[former] | ends[at] != ends[former]:
                    ends[former] |= ends[at]
                    waiting.append(former)
        statuses = self.operator.statuses
        for at, whole, cut, label in self._cut:
            late = statuses.is_late(self.worlds[at].cluster.status)
            if ends[whole] == ends[cut] or late:
                continue
            differ = [end for end, place in bit.items() if (ends[whole] ^ ends[cut]) >> place & 1]
            gained = "gives the new end" if ends[cut] >> bit[differ[0]] & 1 else "loses the end"
            raise _FoundError(Counterexample(5, f"a crash {gained} {differ[0]}", (*self.path(at), label)))

    def _ending(self, at: int) -> object:
        """What two ends must agree on to be the same end."""
        cluster = self.worlds[at].cluster
        status = self.operator.status(cluster)
        return (
            self._end(at),
            self.operator.letter(status.active_revision),
            tuple((service_key(i), s.selects) for i, s in enumerate(cluster.services) if s.selects != ABSENT),
            tuple((workload.key, workload.replicas) for workload in cluster.workloads),
            status.last_upgrade.outcome if status.last_upgrade else "",
        )


class _Edges:
    """Steps from state to state."""

    def __init__(self) -> None:
        self._from, self._to = array("l"), array("l")

    def add(self, from_: int, to: int) -> None:
        self._from.append(from_)
        self._to.append(to)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._from, self._to, strict=True)

    def before(self, states: int) -> Callable[[int], Iterator[int]]:
        """Who has a step to a state: the edges, sorted by where they lead."""
        count = array("l", bytes(self._to.itemsize * (states + 1)))
        for to in self._to:
            count[to + 1] += 1
        for at in range(states):
            count[at + 1] += count[at]
        place = array("l", count)
        sources = array("l", self._from)
        for from_, to in zip(self._from, self._to, strict=True):
            sources[place[to]] = from_
            place[to] += 1

        def before(at: int) -> Iterator[int]:
            return iter(sources[count[at] : count[at + 1]])

        return before


class _FoundError(Exception):
    def __init__(self, counterexample: Counterexample) -> None:
        super().__init__(counterexample.text)
        self.counterexample = counterexample
