"""The written form of a receipt: one line of canonical JSON, sealed by its hash and tied to the line before.

A receipt is read, compared and hashed as the line that was written, never as a model of it: an operator
that knows more members or fewer must come to the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from conductor.api import names

SCHEMA = 1
#: What stands for the hash before the first receipt.
GENESIS = "0" * 64
#: One upgrade makes about as many. Every insert writes its whole segment, so that long ones would cost etcd dearly.
SEGMENT_LINES = 100
#: No line is longer (bytes of UTF-8); a full segment stays far below the megabyte that a ConfigMap may hold.
LINE_BYTES = 2048
#: Receipts that a status holds at most until the sink has them: more than a rollback of sixteen components makes.
OUTBOX_LINES = 128

_KEY_DIGITS = 10


class Kind(StrEnum):
    """What a receipt tells of."""

    #: The chain begins: what there was before its first transition.
    OPENED = "opened"
    #: The status had lost the chain; it goes on from what the sink holds.
    RESUMED = "resumed"
    PHASE = "phase"
    INTENT = "intent"
    OUTCOME = "outcome"
    #: Transitions for which there was no room while the sink was away: how many, and since when.
    FOLDED = "folded"


class Result(StrEnum):
    """What became of an intent."""

    DONE = "Done"
    FAILED = "Failed"
    #: The operator that was to make it told nothing, and what it asked for was not found in place.
    UNKNOWN = "Unknown"


class Link(NamedTuple):
    """A place in a chain: the sequence of a receipt and its hash."""

    sequence: int
    hash: str


BEGINNING = Link(0, GENESIS)


class LineError(ValueError):
    """A line is not a receipt as it was written; the text says why."""


def canonical(content: Mapping[str, Any]) -> str:
    """RFC 8785 for what receipts hold: members with ASCII names, strings, whole numbers below 2**53.

    For these the standard library's writer does what the RFC asks: shortest escapes, lower-case hexadecimal,
    everything else as it is. Raises UnicodeEncodeError where a string is no Unicode text.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    text.encode()
    return text


def digest(text: str) -> str:
    """SHA-256 of the text's UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> tuple[str, Link]:
    """The line of a receipt, which ends with its hash as one more member, and its place in the chain."""
    hash_ = digest(canonical(content))
    return canonical({**content, "hash": hash_}), Link(content["sequence"], hash_)


def read(line: str) -> dict[str, Any]:
    """The content of a line whose bytes and hash are right. Raises LineError."""
    if len(line.encode(errors="replace")) > LINE_BYTES:
        raise LineError(f"is longer than {LINE_BYTES} bytes")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("is not JSON") from error
    if not isinstance(content, dict) or (type(content.get("sequence")), type(content.get("previous"))) != (
        int,
        str,
    ):
        raise LineError("is not a receipt")
    try:
        same = canonical(content) == line
    except ValueError:
        same = False
    if not same:
        raise LineError("is not in canonical form")
    rest = {key: value for key, value in content.items() if key != "hash"}
    if digest(canonical(rest)) != content.get("hash"):
        raise LineError("does not have the hash that it names")
    return content


def link(line: str) -> Link:
    """Where in its chain a line stands. Raises LineError."""
    content = read(line)
    return Link(content["sequence"], content["hash"])


def bounded(text: str, limit: int) -> str:
    """The text cut so that it takes at most `limit` bytes in a line; what is no Unicode text becomes `?`."""
    text = text.encode(errors="replace").decode()
    if _bytes_in_line(text) <= limit:
        return text
    text = text[:limit]
    while (excess := _bytes_in_line(text + "…") - limit) > 0:
        # No character takes more than six bytes (`\u001f`).
        text = text[: -max(1, excess // 6)]
    return text + "…"


def _bytes_in_line(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - len('""')


def segment_of(sequence: int) -> int:
    """Which segment a receipt belongs to; the first receipt has sequence 1, the first segment number 0."""
    return (sequence - 1) // SEGMENT_LINES


def key_of(sequence: int) -> str:
    """The key of a receipt in its segment; keys sort like sequences."""
    return f"{sequence:0{_KEY_DIGITS}d}"


def segment_name(release: str, uid: str, segment: int) -> str:
    """Name of the ConfigMap that holds one segment of the chain of one release."""
    return f"{release}-receipts-{uid[:8]}-{segment}"


def segment_labels(release: str, uid: str) -> dict[str, str]:
    """Labels of a segment. The release's own label is not among them: what carries that is listed in every pass,
    and goes with the release."""
    return {names.LABEL_RECEIPTS: release, names.LABEL_RELEASE_UID: uid}
