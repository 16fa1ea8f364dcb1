"""The answer of a run: one JSON object, in the termination message and as the last line of the log."""

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from migrator.dsn import Redactor
from migrator.origin import Origin
from migrator.request import Request
from migrator.stops import Reason, Stop

ANSWER_BYTES = 4096
"""More than this, and the kubelet would cut the JSON in the middle."""


class State(StrEnum):
    """How far a version has come in the database, or what came of a run."""

    NONE = "none"
    EXPANDED = "expanded"
    MIGRATED = "migrated"
    CONTRACTED = "contracted"
    BACKED_OUT = "backed-out"
    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True)
class Answer:
    verb: str
    state: State
    version: str
    digest: str = ""
    divergence: int | None = None
    rows_done: int = 0
    rows_total: int = 0
    message: str = ""
    mend: str = ""
    reason: Reason | None = None
    contract_pending: tuple[str, ...] = ()
    """older versions whose contract is still to come"""
    expanded_kept: tuple[str, ...] = ()
    """versions of upgrades that were given up, whose expanded schema still stands"""
    versions: tuple[tuple[str, State], ...] = ()
    """inspect only: every version that the ledger knows"""
    ledger_line: int = 0
    """the newest line; the release hands it to the next run, which must find it"""
    origin: Origin | None = None
    """the primary that keeps the ledger"""
    schema: tuple[str, str] = ("", "")
    """the oldest version that works on the schema ("": as before) and the newest whose SQL is in it"""
    replicas: tuple[dict[str, object], ...] = ()
    """each endpoint that the release named, with what it shows"""
    contracted_after: dict[str, object] | None = None
    """the moment before this upgrade's contract step: LSN, time, and what is known of a restore to it"""
    untouched: bool = False
    """the run ended before it had a connection: nothing can have changed"""
    exit_code: int = 0

    def to_json(self, redact: Redactor) -> str:
        """At most ANSWER_BYTES long: sentences are shortened before facts are left out."""
        versions = self.versions
        room = 1200
        while True:
            text = self._dump(redact, versions, room)
            if len(text.encode()) <= ANSWER_BYTES:
                return text
            if room > 100:
                room //= 2
            else:
                versions = versions[1:]

    def _dump(self, redact: Redactor, versions: tuple[tuple[str, State], ...], room: int) -> str:
        content: dict[str, object] = {
            "verb": self.verb,
            "state": self.state.value,
            "version": self.version,
            "digest": self.digest,
            "divergence": self.divergence,
            "rowsDone": self.rows_done,
            "rowsTotal": self.rows_total,
            "message": _shortened(redact(self.message), room),
            "mend": _shortened(redact(self.mend), room),
        }
        optional: dict[str, object] = {
            "reason": self.reason.value if self.reason else None,
            "contractPending": list(self.contract_pending[:20]),
            "expandedKept": list(self.expanded_kept[:20]),
            "versions": {version: state.value for version, state in versions},
            "ledgerLine": self.ledger_line,
            "systemId": self.origin.system_id if self.origin else None,
            "timeline": self.origin.timeline if self.origin else None,
            "schemaFrom": self.schema[0],
            "schemaTo": self.schema[1],
            "replicas": list(self.replicas),
            "contractedAfter": self.contracted_after,
            "untouched": self.untouched,
        }
        content.update({key: value for key, value in optional.items() if value})
        return json.dumps(content, separators=(",", ":"))


def failure(stop: Stop, request: Request | None) -> Answer:
    """The answer for a run that ended early."""
    return Answer(
        verb=request.verb.value if request else "",
        state=State.FAILED,
        version=stop.version or (request.target.text if request else ""),
        divergence=stop.divergence,
        message=stop.message,
        mend=stop.mend,
        reason=stop.reason,
        untouched=stop.untouched,
        exit_code=stop.exit_code,
    )


def leave(text: str, termination_log: Path) -> None:
    """Write it over what was there in one write: a kill leaves the former words or these, never none.

    The file is kubelet's, nothing can be renamed over it. Raises OSError.
    """
    descriptor = os.open(termination_log, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        content = text.encode()
        os.write(descriptor, content.ljust(os.fstat(descriptor).st_size))
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def deliver(answer: Answer, termination_log: Path, redact: Redactor) -> int:
    """Write the answer where the operator and where people look; the exit code is its last part."""
    text = answer.to_json(redact)
    try:
        leave(text, termination_log)
    except OSError as error:
        log_line(
            "warning", "termination message not written", path=str(termination_log), error=str(error.strerror)
        )
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return answer.exit_code


def log_line(level: str, event: str, **fields: object) -> None:
    """One JSON line of the log; values are facts that the runner made itself, never a library's text."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "event": event,
        **fields,
    }
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
