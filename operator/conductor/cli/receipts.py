"""`receipts`: what was done with a release, receipt by receipt, and the proof that none is missing or changed."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from conductor.adapters.release_access import MissingReleaseError
from conductor.api.names import LABEL_RECEIPTS, LABEL_RELEASE_UID
from conductor.api.receipts import Kind, Link, Result
from conductor.cli.options import FAILED, OK, CommandError, Releases, Terminal, add_common, local_now
from conductor.cli.render import field, wrapped
from conductor.cli.style import Style, clipped
from conductor.cli.view import FAILED_OUTCOMES, instant
from conductor.domain.chain import Chain, Entry, Receipt, verify

HELP = "show what was done with a release, and prove that nothing of it is missing or changed"
DESCRIPTION = (
    "Lists the receipts of a release, also of one that was deleted, and proves that their chain is complete and "
    f"unbroken. Exit code {OK}: it is; {FAILED}: it is not, with the sequence and the mend."
)
MARKS = {Result.DONE: "good", Result.FAILED: "bad", Result.UNKNOWN: "warn"}
GOING_BACK = frozenset({"RollingBack", "BackingOut"})
SEQUENCE = 9
HASH = 8


@dataclass(frozen=True)
class Evidence:
    """One chain, and the release that it is of; `gone`: only the chain is left. `others`: UIDs of former releases."""

    namespace: str
    name: str
    uid: str
    chain: Chain
    places: tuple[str, ...]
    gone: bool
    headless: bool
    others: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("name", metavar="RELEASE", help="name of the ControlPlaneRelease")
    parser.add_argument("--verify", action="store_true", help="only prove the chain, do not list it")
    parser.add_argument(
        "--uid", metavar="UID", help="the chain of a former release of that name (first characters)"
    )


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    evidence = gather(releases, arguments.name, arguments.uid)
    if arguments.json:
        out.write_json(as_json(evidence, whole=not arguments.verify))
    else:
        now = local_now()
        lines = proof_lines(evidence, out.style)
        if not arguments.verify and evidence.chain.receipts:
            lines += ["", *table_lines(evidence.chain, now, out.style)]
        out.write(lines)
    return OK if evidence.chain.proven else FAILED


def gather(releases: Releases, name: str, wanted: str | None) -> Evidence:
    """Everything that stands of one chain. Raises AccessError and CommandError."""
    missing: MissingReleaseError | None = None
    metadata: Mapping[str, Any] = {}
    told: Mapping[str, Any] = {}
    try:
        item = releases.get(name)
        metadata, told = item["metadata"], (item.get("status") or {}).get("receipts") or {}
    except MissingReleaseError as error:
        missing = error
    segments = releases.config_maps(f"{LABEL_RECEIPTS}={name}")
    # The newest chain last, by the first segment that was made of it.
    created = {
        found["metadata"]["labels"][LABEL_RELEASE_UID]: found["metadata"].get("creationTimestamp", "")
        for found in sorted(segments, key=lambda found: str(found["metadata"]["name"]), reverse=True)
    }
    uids = sorted(created, key=lambda uid: (created[uid], uid))
    live = str(metadata.get("uid", ""))
    uid = chosen(uids, live, wanted, missing, f"{releases.namespace}/{name}")
    own = [found for found in segments if found["metadata"]["labels"][LABEL_RELEASE_UID] == uid]
    entries = [
        Entry(found["metadata"]["name"], key, line)
        for found in own
        for key, line in (found.get("data") or {}).items()
    ]
    if uid != live:
        told = {}
    head = Link(int(told["sequence"]), told["hash"]) if told.get("hash") else None
    return Evidence(
        releases.namespace,
        name,
        uid,
        verify(name, uid, entries, tuple(told.get("outbox") or ()), head),
        tuple(sorted(found["metadata"]["name"] for found in own)),
        gone=uid != live,
        headless=head is None,
        others=tuple(other for other in uids if other != uid),
    )


def chosen(
    uids: Sequence[str], live: str, wanted: str | None, missing: MissingReleaseError | None, name: str
) -> str:
    """Whose chain is meant: the living release's, else the newest, unless a UID is given."""
    known = [*uids, live] if live and live not in uids else list(uids)
    if wanted is not None:
        found = [uid for uid in known if uid.startswith(wanted)]
        if len(found) != 1:
            raise CommandError(
                f"--uid {wanted!r} names {len(found) or 'none'} of the chains of {name}: "
                f"{', '.join(known) or 'there is none'}"
            )
        return found[0]
    if missing is None:
        return live
    if not uids:
        raise missing
    return uids[-1]


def as_json(evidence: Evidence, *, whole: bool) -> dict[str, Any]:
    chain = evidence.chain
    answer: dict[str, Any] = {
        "namespace": evidence.namespace,
        "name": evidence.name,
        "uid": evidence.uid,
        "proven": chain.proven,
        "count": len(chain.receipts),
        "configMaps": list(evidence.places),
        "notKept": sorted(chain.not_kept),
        "interruptions": [receipt["sequence"] for receipt in chain.interruptions],
        "defects": [
            {
                "fault": str(defect.fault),
                "sequence": defect.sequence,
                "message": defect.message,
                "mend": defect.mend,
            }
            for defect in chain.defects
        ],
    }
    return {**answer, "receipts": [dict(receipt) for receipt in chain.receipts]} if whole else answer


def proof_lines(evidence: Evidence, style: Style) -> list[str]:
    """How many receipts there are, where, and what speaks against them."""
    chain = evidence.chain
    title = style.paint("strong", f"{evidence.namespace}/{evidence.name}")
    lines = [field("Receipts", f"{title}  {counted(len(chain.receipts), 'receipt')}{places(evidence)}")]
    if chain.proven and chain.receipts:
        lines.append(field("Proof", f"{style.mark('good')} complete and unbroken"))
    elif chain.proven:
        said = "the operator has made none yet, or is of a version that makes none"
        lines += wrapped("Proof", said, style, style.mark("warn"))
    else:
        lines.append(field("Proof", f"{style.mark('bad')} {counted(len(chain.defects), 'defect')}"))
    for defect in chain.defects:
        lines += wrapped(
            "", f"{defect.fault} at {defect.sequence}: {defect.message}", style, style.mark("bad")
        )
        lines += wrapped("", f"  mend: {defect.mend}", style)
    for note in notes(evidence):
        lines += wrapped("", note, style, style.mark("warn"))
    return lines


def places(evidence: Evidence) -> str:
    match evidence.places:
        case ():
            return ""
        case (only,):
            return f" in ConfigMap {only}"
        case several:
            return f" in {len(several)} ConfigMaps"


def notes(evidence: Evidence) -> Iterator[str]:
    """What is no defect and still worth a word."""
    chain = evidence.chain
    for receipt in chain.interruptions:
        yield f"receipt {receipt['sequence']}: {interruption(receipt)}"
    if chain.not_kept:
        yield f"{counted(len(chain.not_kept), 'receipt')} in the status of the release alone so far"
    if evidence.gone:
        yield "the release is gone: nothing tells whether receipts are missing at the end"
    elif evidence.headless and chain.receipts:
        yield "the release's status names no receipt: nothing tells whether some are missing at the end"
    if evidence.others:
        yield f"former releases of this name left chains too: --uid {', --uid '.join(evidence.others)}"


def table_lines(chain: Chain, now: datetime, style: Style) -> list[str]:
    """A line for each phase and each effect: an intent and its outcome are one."""
    moments = [instant(receipt.get("at")) for receipt in chain.receipts]
    today = all(at is not None and at.astimezone(now.tzinfo).date() == now.date() for at in moments)
    table = Table(now, style, "%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
    lines = [table.head()]
    upgrade, told = None, 0
    for first, last in paired(chain.receipts):
        if first["sequence"] > told + 1:
            lines.append(table.gap(told + 1, first["sequence"] - 1))
        told = last["sequence"]
        named = last.get("upgrade")
        if named is not None and named != upgrade:
            lines += ["", f"{'':{SEQUENCE}}  {upgrade_head(last, style)}"]
        upgrade = named or upgrade
        tail = "" if last is not chain.open_intent else "  (no outcome yet)"
        tail += "" if told not in chain.not_kept else "  (not kept yet)"
        lines += table.row(first, last, tail)
    return lines


@dataclass(frozen=True)
class Table:
    """How rows are laid out. Times are the reader's own; with the date where not all of it is of today."""

    now: datetime
    style: Style
    time_format: str

    def head(self) -> str:
        when = f"{'WHEN':<{len(self.now.strftime(self.time_format))}}"
        return self.style.paint("strong", f"{'SEQUENCE':>{SEQUENCE}}  {'HASH':<{HASH}}  {when}  WHAT")

    def gap(self, first: int, last: int) -> str:
        """What the table cannot tell."""
        when = " " * len(self.now.strftime(self.time_format))
        said = f"{self.style.mark('bad')} missing, or not as it was written"
        return f"{span(first, last):>{SEQUENCE}}  {'':{HASH}}  {when}  {said}"

    def row(self, first: Receipt, last: Receipt, tail: str) -> list[str]:
        style, at = self.style, instant(first.get("at"))
        sequence = span(first["sequence"], last["sequence"])
        when = at.astimezone(self.now.tzinfo).strftime(self.time_format) if at is not None else "?"
        start = f"{sequence:>{SEQUENCE}}  {style.paint('faint', last['hash'][:HASH])}  {when}  "
        mark, text = described(first, last, style)
        line = shortened(f"{start}{style.mark(mark)} {text}", style, room=len(tail))
        return [f"{line}{style.paint('warn', tail)}", *self._reasons(last, len(when))]

    def _reasons(self, receipt: Receipt, width: int) -> list[str]:
        """Why an effect failed, whole: that is what people look for."""
        if receipt.get("result") not in (Result.FAILED, Result.UNKNOWN):
            return []
        unknown = "nobody told what became of it, and it was not found in place"
        said = f"{receipt.get('reason', 'Unknown')}: {receipt.get('message', unknown)}"
        indent = " " * (SEQUENCE + HASH + width + 10)
        return textwrap.wrap(said, max(60, self.style.width), initial_indent=indent, subsequent_indent=indent)


def paired(receipts: Sequence[Receipt]) -> Iterator[tuple[Receipt, Receipt]]:
    """Each intent with its outcome; everything else, and an intent without one, with itself."""
    rest = list(receipts)
    while rest:
        first = rest.pop(0)
        answered = bool(rest) and rest[0].get("intent") == first["sequence"]
        yield first, rest.pop(0) if answered and first.get("kind") == Kind.INTENT else first


def upgrade_head(receipt: Receipt, style: Style) -> str:
    former, to = receipt.get("fromVersion"), receipt.get("toVersion", "?")
    versions = f"{former} {style.symbol('arrow')} {to}" if former else f"{to} (first install)"
    return style.paint("strong", f"{receipt['upgrade']}  {versions}")


def described(first: Receipt, last: Receipt, style: Style) -> tuple[str, str]:
    """The mark of a row, and its text."""
    message = str(first.get("message", ""))
    match first.get("kind"):
        case Kind.PHASE:
            result = str(first.get("result", ""))
            ended = ("bad" if result in FAILED_OUTCOMES else "good") if result else ""
            mark = "back" if first.get("phase") in GOING_BACK else ended or "now"
            title = style.paint("strong", f"{first.get('phase', '')}{f' ({result})' if result else ''}")
            return mark, f"{title}  {message}"
        case Kind.INTENT | Kind.OUTCOME:
            mark = MARKS.get(last.get("result", ""), "now")
            return mark, f"  {first.get('effect', '')} {first.get('subject', '')}"
        case Kind.FOLDED:
            return "warn", interruption(first)
        case Kind.OPENED:
            return "later", message
        case _:
            return "warn", message or str(first.get("kind", "?"))


def interruption(receipt: Receipt) -> str:
    """What is not told, in the receipt's own words."""
    message = str(receipt.get("message", ""))
    if receipt.get("kind") == Kind.FOLDED:
        return f"{counted(receipt.get('count', 0), 'transition')} not told: {message}"
    return message


def shortened(line: str, style: Style, room: int) -> str:
    """The line cut so that it leaves so much room on the screen, and marked where it was."""
    width = style.width - room
    if clipped(line, width) == line:
        return line
    return f"{clipped(line, width - 1)}{'…' if style.unicode else '.'}"


def span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
