"""Receipts of what a plan is about to do, chained and put into the status that records it.

A transition is a change of phase, the intent of an effect, or the outcome of the intent before. Waiting is none.
Intent and outcome come in pairs, and nothing stands between them: an intent stays open for as long as decision
after decision asks for the same effect, and the first one that does not settles it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from conductor.api.receipts import OUTBOX_LINES, SCHEMA, Kind, Link, Result, bounded, digest, seal
from conductor.api.status import (
    FoldedReceipts,
    OpenIntent,
    ReceiptsStatus,
    ReleaseStatus,
    UpgradeStatus,
    format_instant,
)
from conductor.domain.effects import Effect
from conductor.domain.keeping import EffectReport, Known
from conductor.domain.observed import in_place, subject_of
from conductor.domain.plan import Plan
from conductor.domain.snapshot import Snapshot

_MESSAGE_BYTES = 512
_SUBJECT_BYTES = 320
_NAME_BYTES = 64
_ANY_BYTES = 1 << 20

Draft = dict[str, Any]


def record(s: Snapshot, known: Known, decided: Plan, asked: Effect | None) -> Plan:
    """The plan with the receipts of what it does in its status's outbox; as it was where it does nothing new.

    `asked` is the effect that the situation asks for, also where the plan holds it back.
    """
    former = s.status.receipts or ReceiptsStatus()
    drafts = _drafts(s, known.report, former.open, decided, asked)
    if not drafts and former.folded is None:
        return decided
    head = Link(former.sequence, former.hash) if former.hash else known.head
    page = _Page(_common(s), head) if head is not None else None
    if page is not None:
        page.outbox.extend(not_kept(former.outbox, known.kept))
        page.take_up(s, former)
    if page is not None and page.has_room(drafts):
        receipts = page.receipts(former, drafts)
    elif drafts:
        receipts = _folded(s, former, drafts)
    else:
        return decided
    return replace(decided, status=decided.status.model_copy(update={"receipts": receipts}))


def not_kept(outbox: Sequence[str], kept: str) -> tuple[str, ...]:
    """Lines after the one that the sink is known to have; all of them where it is not known to have any."""
    for index, line in enumerate(outbox):
        if kept and f'"hash":"{kept}"' in line:
            return tuple(outbox[index + 1 :])
    return tuple(outbox)


@dataclass
class _Page:
    """The part of the chain that one status will hold, while it is written."""

    common: Draft
    head: Link
    outbox: list[str] = field(default_factory=list)
    #: Sequence of the receipt that tells of folded ones, where this page has it.
    unfolded: int = 0

    def take_up(self, s: Snapshot, former: ReceiptsStatus) -> None:
        """What the chain owes before it can go on: its beginning, and how many transitions had no room."""
        if not former.hash:
            self._add(_beginning(s, self.head))
        if former.folded is not None:
            self.unfolded = self._add(_unfolding(former.folded))

    def has_room(self, drafts: Sequence[Draft]) -> bool:
        return len(self.outbox) + len(drafts) <= OUTBOX_LINES

    def receipts(self, former: ReceiptsStatus, drafts: Sequence[Draft]) -> ReceiptsStatus:
        """The page with these receipts on it."""
        intent = former.open
        if intent is not None and not intent.sequence:
            intent = intent.model_copy(update={"sequence": self.unfolded})
        for draft in drafts:
            answers = {"intent": intent.sequence} if draft["kind"] is Kind.OUTCOME and intent else {}
            sequence = self._add({**draft, **answers})
            intent = _still_open(intent, draft, sequence)
        update = {
            "sequence": self.head.sequence,
            "hash": self.head.hash,
            "open": intent,
            "outbox": tuple(self.outbox),
            "folded": None,
        }
        return former.model_copy(update=update)

    def _add(self, draft: Draft) -> int:
        sequence = self.head.sequence + 1
        content = {**self.common, **draft, "sequence": sequence, "previous": self.head.hash}
        line, self.head = seal({key: value for key, value in content.items() if value != ""})
        self.outbox.append(line)
        return sequence


def _folded(s: Snapshot, former: ReceiptsStatus, drafts: Sequence[Draft]) -> ReceiptsStatus:
    """No room, or no end to tie to: count them. What is in the outbox stays, for the sink may have it already."""
    count, since = (former.folded.count, former.folded.since) if former.folded else (0, s.now)
    intent = former.open
    for draft in drafts:
        intent = _still_open(intent, draft, 0)
    folded = FoldedReceipts(count=count + len(drafts), since=since)
    return former.model_copy(update={"folded": folded, "open": intent})


def _still_open(intent: OpenIntent | None, draft: Draft, sequence: int) -> OpenIntent | None:
    match draft["kind"]:
        case Kind.INTENT:
            return OpenIntent(sequence=sequence, effect=draft["effect"], subject=draft["subject"])
        case Kind.OUTCOME:
            return None
        case _:
            return intent


def _drafts(
    s: Snapshot, report: EffectReport | None, intent: OpenIntent | None, decided: Plan, asked: Effect | None
) -> list[Draft]:
    """The transitions of this pass, in the order in which they came about."""
    drafts: list[Draft] = []
    if intent is not None and not _same(asked, intent):
        drafts.append(_outcome(s, intent, report))
    if decided.status.phase is not s.status.phase:
        drafts.append(_change_of_phase(s, decided.status))
    if decided.effect is not None and (intent is None or not _same(decided.effect, intent)):
        drafts.append(_intent(decided.status, decided.effect))
    return drafts


def _same(effect: Effect | None, intent: OpenIntent) -> bool:
    return effect is not None and (effect.name, _subject(effect)) == (intent.effect, intent.subject)


def _subject(effect: Effect) -> str:
    """Bounded, and still another one for every other list of objects."""
    whole = bounded(subject_of(effect), _ANY_BYTES)
    short = bounded(whole, _SUBJECT_BYTES)
    return short if short == whole else f"{short}{digest(whole)[:8]}"


def _intent(status: ReleaseStatus, effect: Effect) -> Draft:
    return {
        "kind": Kind.INTENT,
        "phase": status.phase,
        "effect": effect.name,
        "subject": _subject(effect),
        **_why(status.reason, status.message),
        **_upgrade(status.upgrade),
    }


def _outcome(s: Snapshot, intent: OpenIntent, report: EffectReport | None) -> Draft:
    draft: Draft = {
        "kind": Kind.OUTCOME,
        "phase": s.status.phase,
        "effect": intent.effect,
        "subject": intent.subject,
        **_upgrade(s.status.upgrade),
    }
    told = report if report is not None and report.intent == intent else None
    if told is not None and not told.error:
        return {**draft, "result": Result.DONE}
    if in_place(s, intent):
        # Its answer was lost, or the operator that made it.
        return {**draft, "result": Result.DONE, "reason": "Observed"}
    if told is not None:
        return {**draft, "result": Result.FAILED, **_why(told.error, told.message)}
    return {**draft, "result": Result.UNKNOWN}


def _change_of_phase(s: Snapshot, status: ReleaseStatus) -> Draft:
    ended = s.status.upgrade is not None and status.upgrade is None
    return {
        "kind": Kind.PHASE,
        "before": s.status.phase,
        "phase": status.phase,
        "result": status.last_upgrade.outcome if ended and status.last_upgrade else "",
        **_why(status.reason, status.message),
        **_upgrade(status.upgrade or s.status.upgrade),
    }


def _beginning(s: Snapshot, head: Link) -> Draft:
    serving = f"{s.status.active_version} serves" if s.status.active_version else "nothing serves yet"
    if not head.sequence:
        said = f"the chain begins here: {serving}"
    else:
        said = (
            f"the status had lost the chain, it is taken up after receipt {head.sequence}; what happened in "
            f"between is not in it: {serving}"
        )
    return {
        "kind": Kind.RESUMED if head.sequence else Kind.OPENED,
        "phase": s.status.phase,
        "message": said,
        **_upgrade(s.status.upgrade),
    }


def _unfolding(folded: FoldedReceipts) -> Draft:
    return {
        "kind": Kind.FOLDED,
        "count": folded.count,
        "since": format_instant(folded.since),
        "message": "no room was left for receipts while they could not be kept; the log of the operator has them",
    }


def _common(s: Snapshot) -> Draft:
    return {
        "schema": SCHEMA,
        "uid": s.uid,
        "namespace": s.namespace,
        "name": s.name,
        "at": format_instant(s.now),
        "epoch": s.epoch,
    }


def _upgrade(upgrade: UpgradeStatus | None) -> Draft:
    if upgrade is None:
        return {}
    found = {
        "upgrade": upgrade.id,
        "fromVersion": upgrade.from_,
        "fromRevision": upgrade.from_revision,
        "toVersion": upgrade.to,
        "toRevision": upgrade.to_revision,
    }
    return {key: bounded(value, _NAME_BYTES) for key, value in found.items()}


def _why(reason: str, message: str) -> Draft:
    return {"reason": bounded(reason, _NAME_BYTES), "message": bounded(message, _MESSAGE_BYTES)}
