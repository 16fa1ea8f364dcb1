"""One operator process of a story: decides and carries out as `runtime.passes` does, and forgets when it dies."""

from collections.abc import Callable
from functools import lru_cache

from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import ApiError, Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.receipts import Link, read
from conductor.api.status import Phase, ReceiptsStatus
from conductor.domain.chain import Chain, Entry, verify
from conductor.domain.decide import Decision, decide
from conductor.domain.effects import Effect
from conductor.domain.plan import Plan
from conductor.domain.snapshot import Snapshot
from conductor.effects.announce import announce, event_of
from conductor.effects.make import make
from conductor.effects.write_status import write_status
from conductor.runtime.receipt_sink import ReceiptSink

#: A chain is proven after every pass: lines that were read before are the same lines.
_read_once = lru_cache(maxsize=100_000)(read)


class OperatorDiedError(Exception):
    """Raised around a write: the operator is gone there, and with it all that it had in memory."""


class Process:
    """`clock` answers seconds that never go back."""

    def __init__(self, kube: MemoryKube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self.receipts = ReceiptSink(kube, clock, spread_seconds=0)

    def decide(self, s: Snapshot) -> Decision:
        """Raises OperatorDiedError where it dies over that."""
        return decide(s, self.receipts.known(s))

    def carry_out(self, release: Object, s: Snapshot, decision: Decision) -> Effect | None:
        """Make what was decided; the effect, where one was made. Raises ApiError and OperatorDiedError."""
        decided = decision.plan
        if decided.status != s.status:
            release = write_status(self._kube, release, decided.status)
        for announcement in decided.announcements:
            announce(self._kube, event_of(release, str(decided.status.sequence), announcement))
        effect = decided.effect
        if effect is not None and self.receipts.before_effect(s, decision):
            self._make(s, decided.status.receipts, effect)
        else:
            effect = None
        self.receipts.after_pass(s, decision)
        return effect

    def _make(self, s: Snapshot, receipts: ReceiptsStatus | None, effect: Effect) -> None:
        intent = receipts.open if receipts is not None else None
        try:
            make(self._kube, s.namespace, s.name, effect)
        except ApiError as error:
            self.receipts.reported(s, intent, error)
            raise
        self.receipts.reported(s, intent)


def chain_of(
    kube: MemoryKube, namespace: str, name: str, uid: str, receipts: ReceiptsStatus | None = None
) -> Chain:
    """The chain of receipts as anybody can read it; without the status as if the release were gone."""
    entries = [
        Entry(item["metadata"]["name"], key, line)
        for item in kube.list("ConfigMap", namespace, f"{names.LABEL_RELEASE_UID}={uid}")
        for key, line in item["data"].items()
    ]
    if receipts is None or not receipts.hash:
        return verify(name, uid, entries, reader=_read_once)
    head = Link(receipts.sequence, receipts.hash)
    return verify(name, uid, entries, receipts.outbox, head, reader=_read_once)


def busy(decided: Plan) -> bool:
    """Whether something is under way that ends by itself."""
    status = decided.status
    at_rest = status.phase is Phase.CONTRACTING or status.reason == Reason.RUNNING_JOB
    return decided.again or status.upgrade is not None or at_rest
