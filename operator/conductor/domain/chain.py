"""Proves that a chain of receipts is complete and unbroken, from nothing but the lines as they are stored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from conductor.api.receipts import (
    BEGINNING,
    Kind,
    LineError,
    Link,
    key_of,
    read,
    segment_name,
    segment_of,
)

OUTBOX = "status.receipts.outbox"

Receipt = Mapping[str, Any]

_UNTOLD = frozenset({Kind.FOLDED, Kind.RESUMED})


class Fault(StrEnum):
    """What can be wrong with a chain."""

    ALTERED = "altered"
    FOREIGN = "foreign"
    MISPLACED = "misplaced"
    FORK = "fork"
    GAP = "gap"
    BROKEN = "broken"
    UNANSWERED = "unanswered"
    AHEAD = "ahead"


_LOG = "the operator's log (event `receipt`)"
_RESTORED = (
    "if the release's status was restored from a backup, remove status.receipts from it: the chain then goes on after "
    "the last receipt that is kept"
)
MENDS: Mapping[Fault, str] = {
    Fault.ALTERED: f"put the line back as it was written, from {_LOG} or from a backup",
    Fault.FOREIGN: "take it out of the ConfigMap; it belongs to another release",
    Fault.MISPLACED: "move it back under the key of its own sequence",
    Fault.FORK: f"save the line that {_LOG} does not have elsewhere, and take it out of its ConfigMap; {_RESTORED}",
    Fault.GAP: f"put back what is missing, from {_LOG} or from a backup",
    Fault.BROKEN: f"find out which of the two was replaced, and put it back from {_LOG} or from a backup",
    Fault.UNANSWERED: f"find out which of the two was replaced, and put it back from {_LOG} or from a backup",
    Fault.AHEAD: _RESTORED,
}


@dataclass(frozen=True)
class Entry:
    """One line and where it stands: a ConfigMap's name, and its key there."""

    place: str
    key: str
    line: str

    @property
    def where(self) -> str:
        return f"{self.place}, {self.key}"


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong, at a sequence."""

    fault: Fault
    sequence: int
    message: str

    @property
    def mend(self) -> str:
        return MENDS[self.fault]


@dataclass(frozen=True)
class Chain:
    """The receipts that could be read, in their order, and everything that speaks against them."""

    receipts: tuple[Receipt, ...]
    defects: tuple[Defect, ...]
    #: Sequences that only the status holds.
    not_kept: frozenset[int]

    @property
    def proven(self) -> bool:
        return not self.defects

    @property
    def interruptions(self) -> tuple[Receipt, ...]:
        """Receipts that say of themselves that something before them is not told."""
        return tuple(receipt for receipt in self.receipts if receipt.get("kind") in _UNTOLD)

    @property
    def open_intent(self) -> Receipt | None:
        """The intent at the end whose outcome is still to come."""
        last = self.receipts[-1] if self.receipts else None
        return last if last is not None and last.get("kind") == Kind.INTENT else None


def verify(
    release: str,
    uid: str,
    entries: Iterable[Entry],
    outbox: Sequence[str] = (),
    head: Link | None = None,
    *,
    reader: Callable[[str], Receipt] = read,
) -> Chain:
    """Check every line, and how they follow one another.

    `head` is the last receipt that the release's status names; without it (the release is gone, or an operator
    that makes no receipts wrote its status) nothing tells whether receipts are missing at the end.
    """
    lines = _Lines(release, uid, reader)
    for entry in entries:
        # Another key is no receipt of ours, whatever it holds.
        if entry.key.isdecimal():
            lines.take(entry)
    kept = frozenset(lines.found)
    end = head.sequence if head is not None else 0
    for sequence, line in enumerate(outbox, start=end - len(outbox) + 1):
        lines.take(Entry(OUTBOX, key_of(sequence), line))
    receipts = tuple(lines.chosen())
    defects = [*lines.defects, *lines.forks(), *_gaps(lines.sequences, end), *_links(receipts)]
    if receipts and head is not None:
        defects += _end(receipts[-1], head)
    return Chain(
        receipts,
        tuple(sorted(defects, key=lambda defect: defect.sequence)),
        frozenset(lines.found) - kept,
    )


@dataclass
class _Lines:
    """What was found, by sequence."""

    release: str
    uid: str
    reader: Callable[[str], Receipt]
    found: dict[int, list[tuple[Entry, Receipt]]] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    defects: list[Defect] = field(default_factory=list)

    @property
    def sequences(self) -> list[int]:
        return sorted(self.unread.union(self.found))

    def take(self, entry: Entry) -> None:
        sequence = int(entry.key)
        try:
            content = self.reader(entry.line)
        except LineError as error:
            self.unread.add(sequence)
            self.defects.append(Defect(Fault.ALTERED, sequence, f"{entry.where}: the line {error}"))
            return
        own = content["sequence"]
        if content.get("uid") != self.uid:
            self.unread.add(sequence)
            said = f"{entry.where}: the line is of the release with UID {content.get('uid')}, not {self.uid}"
            self.defects.append(Defect(Fault.FOREIGN, sequence, said))
            return
        place = segment_name(self.release, self.uid, segment_of(own))
        if key_of(own) != entry.key or entry.place not in (place, OUTBOX):
            said = f"{entry.where}: holds receipt {own}, which belongs to {place}, {key_of(own)}"
            self.defects.append(Defect(Fault.MISPLACED, own, said))
        self.found.setdefault(own, []).append((entry, content))

    def forks(self) -> list[Defect]:
        """Sequences at which different receipts stand."""
        return [
            Defect(
                Fault.FORK,
                sequence,
                "different receipts have this sequence: "
                + ", ".join(f"{entry.place} has {content['hash'][:12]}" for entry, content in there),
            )
            for sequence, there in sorted(self.found.items())
            if len({content["hash"] for _, content in there}) > 1
        ]

    def chosen(self) -> list[Receipt]:
        """One receipt for each sequence; the status's own word counts where there are several."""
        return [self.found[sequence][-1][1] for sequence in sorted(self.found)]


def _gaps(sequences: Sequence[int], end: int) -> list[Defect]:
    missing = [
        (before + 1, after - 1)
        for before, after in pairwise([0, *sequences, max(end, sequences[-1] if sequences else 0) + 1])
        if after > before + 1
    ]
    return [
        Defect(
            Fault.GAP,
            first,
            f"receipt {first} is missing" if first == last else f"receipts {first} to {last} are missing",
        )
        for first, last in missing
    ]


def _links(receipts: Sequence[Receipt]) -> list[Defect]:
    defects = []
    if receipts and receipts[0]["sequence"] == 1 and receipts[0].get("previous") != BEGINNING.hash:
        defects.append(Defect(Fault.BROKEN, 1, "receipt 1 follows another one, but is the first"))
    for before, after in pairwise(receipts):
        sequence = after["sequence"]
        if sequence != before["sequence"] + 1:
            continue
        if after.get("previous") != before["hash"]:
            said = f"receipt {sequence} does not follow receipt {sequence - 1} as it stands"
            defects.append(Defect(Fault.BROKEN, sequence, said))
        elif (unpaired := _unpaired(before, after)) is not None:
            defects.append(Defect(Fault.UNANSWERED, sequence, unpaired))
    return defects


def _unpaired(before: Receipt, after: Receipt) -> str | None:
    """Why an intent and an outcome do not answer each other; None where they do, or where neither is there."""
    kinds = (before.get("kind"), after.get("kind"))
    match kinds:
        case (Kind.INTENT, Kind.OUTCOME) if after.get("intent") == before["sequence"]:
            return None
        case (_, Kind.OUTCOME) if kinds[0] not in _UNTOLD:
            return f"receipt {after['sequence']} is an outcome, but no intent stands before it"
        case (Kind.INTENT, _) if kinds[1] not in _UNTOLD:
            return f"receipt {before['sequence']} is an intent, but its outcome does not follow"
        case _:
            return None


def _end(last: Receipt, head: Link) -> list[Defect]:
    sequence = last["sequence"]
    if sequence > head.sequence:
        said = f"receipts go on to {sequence}, but the release's status ends with {head.sequence}"
        return [Defect(Fault.AHEAD, head.sequence + 1, said)]
    if sequence == head.sequence and last["hash"] != head.hash:
        said = f"the release's status names {head.hash[:12]} as its last receipt, not {last['hash'][:12]}"
        return [Defect(Fault.FORK, sequence, said)]
    return []
