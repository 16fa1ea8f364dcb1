"""What must hold (DESIGN.md, section 4): the checks of `decided` and `written`, and of every state."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.model.broken import BrokenPromiseError
from tests.model.decided import DecisionPromises
from tests.model.passes import Operator, Thought
from tests.model.world import Cluster, Hand, Write
from tests.model.writes import Outcome
from tests.model.written import WritePromises


class Promises:
    """All checks of one configuration. Each raises BrokenPromiseError."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._decided = DecisionPromises(operator)
        self._written = WritePromises(operator)

    def on_decision(self, cluster: Cluster, thought: Thought) -> None:
        """What can be seen from one decision and the truth behind it."""
        with told(thought.decision.told):
            self._decided.check(cluster, thought)

    def on_status(self, hand: Hand) -> None:
        """A status that was decided a while ago is about to be stored."""
        self._written.check_status(hand)

    def on_write(
        self, before: Cluster, outcome: Outcome, write: Write, words: str, hand: Hand | None = None
    ) -> None:
        """What one effect did; `hand` is given where it was decided a while ago."""
        with told(words):
            self._written.check(before, outcome, write, hand)

    def on_half(self, before: Cluster, outcome: Outcome, words: str) -> None:
        """What is left of a switch that ended in the middle."""
        with told(words):
            self._written.check_half(before, outcome)

    def on_state(self, cluster: Cluster) -> None:
        """What must hold between any two steps."""
        for index, part in enumerate(self._operator.plane.parts):
            if part.served or part.handover != "Exclusive":
                continue
            working = [
                workload.revision
                for workload in cluster.workloads
                if workload.component == index and (workload.pods or workload.leaving)
            ]
            if len(working) > 1:
                raise BrokenPromiseError(5, f"two versions of {part.name} work at once: {working}")


@contextmanager
def told(words: str) -> Iterator[None]:
    """Say of a broken promise in which step it broke."""
    try:
        yield
    except BrokenPromiseError as broken:
        broken.told = words
        raise
