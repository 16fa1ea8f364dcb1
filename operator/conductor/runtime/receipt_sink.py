"""Brings receipts from the outbox in a release's status to the ConfigMaps that keep them, and says when it cannot.

What is remembered here spares reads and can be lost at any time: the status and the ConfigMaps hold the truth.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from conductor.adapters.kube import ApiError, ConflictError, Kube
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.receipts import LineError, Link, read
from conductor.api.status import OpenIntent, ReceiptsStatus
from conductor.domain.decide import Decision
from conductor.domain.keeping import EffectReport, Keeping, Known, Trouble, speaks_to_sink
from conductor.domain.receipts import not_kept
from conductor.domain.snapshot import Snapshot
from conductor.effects.keep_receipts import (
    ChainId,
    ForeignSegmentError,
    ForkedError,
    Segment,
    find_head,
    keep_receipts,
)
from conductor.runtime import metrics
from conductor.runtime.turns import Key

_log = structlog.get_logger(__name__)
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
#: A new leader finds releases at rest with their last receipts in the outbox. Where these are older than this, the
#: sink has them most likely; that is looked at in the course of so many seconds, not for every release at once.
_SPREAD_SECONDS = 300.0


@dataclass
class _Memory:
    uid: str
    epoch: int
    #: Hash of the newest receipt that the sink is known to have.
    kept: str = ""
    segment: Segment | None = None
    head: Link | None = None
    trouble: Trouble | None = None
    report: EffectReport | None = None
    failures: int = 0
    retry_at: float = 0.0
    #: When the outbox of a release that this process has never seen move is compared with the sink.
    compare_at: float | None = None
    waiting: int = 0


class ReceiptSink:
    """One for all releases; calls about one release never overlap. `clock` answers seconds that never go back."""

    def __init__(
        self, kube: Kube, clock: Callable[[], float], *, spread_seconds: float = _SPREAD_SECONDS
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._spread_seconds = spread_seconds
        self._memories: dict[Key, _Memory] = {}

    def known(self, s: Snapshot) -> Known:
        """What a decision on this snapshot may know. Asks the sink where the status does not name the chain."""
        memory = self._memory(s)
        receipts = s.status.receipts
        due = self._clock() >= memory.retry_at
        if memory.trouble is not None and due and not (receipts and receipts.outbox):
            # Nothing is left to be tried at rest: the next step forward tries it.
            memory.trouble = None
        if receipts is not None and receipts.hash:
            memory.head = None
        elif memory.head is None and due and speaks_to_sink(s.status):
            self._look_up(s, memory)
        return Known(memory.kept, memory.head, memory.trouble, memory.report)

    def before_effect(self, s: Snapshot, decision: Decision) -> bool:
        """Keep what has to be kept before the effect is made; whether it may be made now."""
        if decision.keeping is Keeping.LATER:
            return True
        kept = self._keep(s, decision.plan.status.receipts)
        return kept or decision.keeping is Keeping.TRIED

    def after_pass(self, s: Snapshot, decision: Decision) -> None:
        """Keep what is left once nothing more is to be done."""
        memory, status = self._memory(s), decision.plan.status
        if decision.plan.again or not speaks_to_sink(status):
            memory.waiting = len(not_kept(status.receipts.outbox, memory.kept)) if status.receipts else 0
        elif status != s.status or memory.kept or memory.trouble is not None or self._compares(s, memory):
            self._keep(s, status.receipts)

    def _compares(self, s: Snapshot, memory: _Memory) -> bool:
        if memory.compare_at is None:
            longest = 0.0 if _just_made(s) else self._spread_seconds
            memory.compare_at = self._clock() + random.uniform(0.0, longest)  # noqa: S311 - spreads load
        return self._clock() >= memory.compare_at

    def _keep(self, s: Snapshot, receipts: ReceiptsStatus | None) -> bool:
        memory = self._memory(s)
        lines = not_kept(receipts.outbox, memory.kept) if receipts is not None else ()
        memory.waiting = len(lines)
        if lines and self._clock() >= memory.retry_at:
            try:
                memory.segment = keep_receipts(self._kube, _chain(s), lines, memory.segment)
            except (ApiError, LineError) as error:
                self._failed(s, memory, error)
            else:
                memory.kept = memory.segment.last
                if memory.segment.lost:
                    metrics.RECEIPT_ERRORS.labels("Lost").inc()
                    _log.warning("kept receipts are gone", namespace=s.namespace, release=s.name)
                memory.trouble, memory.failures, memory.waiting = None, 0, 0
        return not memory.waiting and memory.trouble is None

    def pruned(self, s: Snapshot) -> None:
        """The API server did not store the receipts of a status: its CRD is older than this operator."""
        crd = f"{names.PLURAL}.{names.GROUP}"
        said = (
            f"CustomResourceDefinition {crd} is older than the operator and drops status.receipts; apply "
            "crds/controlplanereleases.yaml of the operator's version"
        )
        self._note(self._memory(s), Trouble(Reason.RECEIPTS_NOT_KEPT, said, stalled=True))

    def reported(self, s: Snapshot, intent: OpenIntent | None, error: ApiError | None = None) -> None:
        """An effect was made, or the API server answered it with an error."""
        if intent is None:
            return
        told = (error.reason or str(error.status), error.message) if error is not None else ("", "")
        self._memory(s).report = EffectReport(intent, *told)

    def retry_after(self, s: Snapshot) -> float | None:
        """Seconds until the sink is to be tried again; None where nothing is wrong with it."""
        memory = self._memory(s)
        return max(0.0, memory.retry_at - self._clock()) if memory.trouble is not None else None

    def forget(self, key: Key) -> None:
        """The release is gone."""
        self._memories.pop(key, None)

    def waiting(self) -> int:
        """Receipts of all releases that the sink is not known to have."""
        return sum(memory.waiting for memory in list(self._memories.values()))

    def _memory(self, s: Snapshot) -> _Memory:
        key = (s.namespace, s.name)
        memory = self._memories.get(key)
        if memory is None or (memory.uid, memory.epoch) != (s.uid, s.epoch):
            # Another release of that name, or another leader had it since.
            memory = self._memories[key] = _Memory(s.uid, s.epoch)
        return memory

    def _look_up(self, s: Snapshot, memory: _Memory) -> None:
        try:
            memory.head = find_head(self._kube, _chain(s))
        except ApiError as error:
            self._failed(s, memory, error)
        else:
            memory.trouble, memory.failures = None, 0

    def _failed(self, s: Snapshot, memory: _Memory, error: ApiError | LineError) -> None:
        metrics.RECEIPT_ERRORS.labels(error.reason if isinstance(error, ApiError) else "Damaged").inc()
        _log.warning("receipts not kept", namespace=s.namespace, release=s.name, error=str(error))
        self._note(memory, trouble(s, error))

    def _note(self, memory: _Memory, found: Trouble) -> None:
        pause = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** min(memory.failures, 8))
        memory.trouble, memory.segment = found, None
        memory.failures += 1
        memory.retry_at = self._clock() + pause


def trouble(s: Snapshot, error: ApiError | LineError) -> Trouble:
    """An error of the sink in words that stay the same from try to try, with the mend."""
    look = f"`conductor receipts {s.name} -n {s.namespace} --verify`"
    if isinstance(error, LineError):
        said = f"status.receipts.outbox: a line {error}: somebody changed it; put it back as the operator's log has it"
        return Trouble(Reason.RECEIPTS_FORKED, said, stalled=True)
    match error:
        case ForkedError():
            said = (
                f"{error.message}; nothing goes forward until a person has settled which one is right: {look} names "
                "both, and the mend"
            )
            return Trouble(Reason.RECEIPTS_FORKED, said, stalled=True)
        case ForeignSegmentError():
            return Trouble(
                Reason.RECEIPTS_NOT_KEPT,
                f"{error.message}; give it another name, or delete it",
                stalled=True,
            )
        case ApiError(status=status) if 400 <= status < 500 and not _passing(error):
            said = (
                f"the API server refuses the ConfigMap that keeps the receipts ({error.message}); mend the operator's "
                "rights, the admission policy or the quota that it names"
            )
            return Trouble(Reason.RECEIPTS_NOT_KEPT, said, stalled=True)
        case _:
            answered = f"answers {error.status}" if error.status else "does not answer"
            said = (
                f"the API server {answered} to writes of the ConfigMaps that keep the receipts; steps forward wait "
                "until it takes them, a rollback does not. See that it and its admission webhooks are well"
            )
            return Trouble(Reason.RECEIPTS_NOT_KEPT, said)


def _just_made(s: Snapshot) -> bool:
    """Whether the last receipt is so young that its maker may have died over it."""
    if s.status.receipts is None or not s.status.receipts.outbox:
        return False
    try:
        made_at = datetime.fromisoformat(read(s.status.receipts.outbox[-1])["at"])
        return (s.now - made_at).total_seconds() < _SPREAD_SECONDS
    except (LineError, KeyError, ValueError, TypeError):
        # Somebody changed the line: the sooner that is told, the better.
        return True


def _passing(error: ApiError) -> bool:
    return isinstance(error, ConflictError) or error.status in (408, 409, 429)


def _chain(s: Snapshot) -> ChainId:
    return ChainId(s.namespace, s.name, s.uid)
