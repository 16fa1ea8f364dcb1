"""Every kind of line that the ledger can hold, in one place: what the runner may write, and what tests kill it at."""

from enum import StrEnum

from migrator.request import Verb


class Event(StrEnum):
    """What a line of the ledger tells."""

    STARTED = "started"
    """an attempt took the fence"""
    BATCH = "batch"
    """one batch of a backfill, in the batch's own transaction"""
    INTENT = "intent"
    """what cannot run in a transaction is about to be done: index `object` built, or a tool moved to `object`"""
    PERFORMED = "performed"
    """it was done, and the catalogue or the tool's own state shows it"""
    APPLIED = "applied"
    """a version reached `state`, in the transaction of the work itself"""
    FAILED = "failed"
    """an attempt ended without it; for readers only, nothing is decided upon it"""
    OPENED = "opened"
    """the login role `object` of the colour that comes up was given LOGIN again"""
    FENCED = "fenced"
    """the login role `object` of the colour that went may not log in any more"""
    POINT = "point"
    """the moment before a contract step: the end of a restore that would take it back"""
    FAILED_OVER = "failed-over"
    """another server than before keeps the ledger: the attempt that saw it first stopped"""


_EVERY = (Event.STARTED, Event.INTENT, Event.APPLIED, Event.FAILED)
_FORWARD = (*_EVERY, Event.FAILED_OVER)

LINES: frozenset[tuple[Verb, Event]] = frozenset(
    (verb, event)
    for verb, events in {
        Verb.EXPAND: (*_FORWARD, Event.OPENED),
        Verb.MIGRATE: (*_FORWARD, Event.BATCH, Event.PERFORMED),
        Verb.CONTRACT: (*_FORWARD, Event.FENCED, Event.POINT),
        Verb.BACKOUT: _EVERY,
    }.items()
    for event in events
)
"""The pen refuses to write any other."""
