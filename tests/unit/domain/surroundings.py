"""What a story is told in: its time, reads without threads, and what was parsed so far."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from conductor.domain.sampling import ProbeOrder
from conductor.domain.snapshot import NodeSample, NodeState, ProbeSample
from conductor.observe.parsed import Parsed

BEGIN = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
#: With room for whatever a story asks for.
NODE = {
    "metadata": {"name": "one"},
    "status": {
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "500"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


class Inline(Executor):
    """Reads one after the other, in the caller's thread."""

    def map(
        self, fn: Callable[..., Any], *iterables: Any, timeout: Any = None, chunksize: int = 1
    ) -> Iterator[Any]:
        return map(fn, *iterables)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        answered: Future[Any] = Future()
        try:
            answered.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - told to whoever asks for the answer, as an executor does
            answered.set_exception(error)
        return answered


class Models(Parsed):
    """What was parsed in one story; a copy of it goes its own way, and begins with none."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Models":
        return Models()


class Clock:
    """The time that really passes in a story, and what the API server takes it for."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.server_ahead = timedelta()

    def read(self) -> datetime:
        """What the API server writes on objects."""
        return self.now + self.server_ahead

    def seconds(self) -> float:
        return (self.now - BEGIN).total_seconds()


def node_sample(seen: Mapping[str, str] | None, question: str, now: datetime) -> NodeSample | None:
    """What is known of nodes, given what is seen through each: nothing strange where it follows."""
    if seen is None:
        return None
    states = tuple(NodeState(name, not strange, strange) for name, strange in seen.items())
    return NodeSample(question, now, usable=True, nodes=states if question else ())


def probe_sample(former: ProbeSample | None, order: ProbeOrder, now: datetime, *, right: bool) -> ProbeSample:
    """What became of an order, given what became of it before, and whether its answers are right now."""
    if former is None or former.since != order.since:
        former = ProbeSample(order.target, now, order.since)
    return replace(
        former,
        at=now,
        sent=former.sent + 5,
        failed=former.failed + (0 if right else 5),
        matched_in_a_row=former.matched_in_a_row + 5 if right else 0,
        last_failure=former.last_failure if right else "answered with another version",
    )
