"""What waits until receipts are kept, and what never does.

Evidence of a step has to be out of the release before the next step forward is made. Going back, repairing
traffic and taking over leadership protect users: they go on whether anybody keeps their receipts or not.
"""

from dataclasses import dataclass
from enum import StrEnum

from conductor.api.reasons import Reason
from conductor.api.receipts import Link
from conductor.api.status import OpenIntent, Phase, ReleaseStatus
from conductor.domain.effects import PublishColour, ReleaseFinalizer
from conductor.domain.situation import Acting, Advancing, Ending, Situation, Starting, Waiting
from conductor.domain.snapshot import Snapshot

_GOING_BACK = frozenset({Phase.ROLLING_BACK, Phase.BACKING_OUT})
_PROTECTING = frozenset(
    {
        Reason.REPAIRING,
        Reason.TRAFFIC_REVERTED,
        Reason.CLAIMING_EPOCH,
        Reason.AUTOSCALING,
        Reason.BUDGETING,
    }
)


@dataclass(frozen=True)
class Trouble:
    """Why receipts are not kept, with the mend; `stalled` where only a person can mend it."""

    reason: Reason
    message: str
    stalled: bool = False


@dataclass(frozen=True)
class EffectReport:
    """What the API server answered when this process made an effect; no error: it took every write of it."""

    intent: OpenIntent
    error: str = ""
    message: str = ""


@dataclass(frozen=True)
class Known:
    """What this process knows of a release's receipts besides the snapshot; all of it may be lost at any time.

    `kept` is the hash of the newest receipt that the sink is known to have, `head` the end of what it holds
    (asked for only where the status names none), `report` what became of the last effect.
    """

    kept: str = ""
    head: Link | None = None
    trouble: Trouble | None = None
    report: EffectReport | None = None


class Keeping(StrEnum):
    """When the receipts of a decision are brought out of the release."""

    #: Before its effect; where that fails, the effect is not made.
    REQUIRED = "required"
    #: Before its effect, which is made either way: the release goes with it, and so does its outbox.
    TRIED = "tried"
    #: Once the release has come to rest.
    LATER = "later"


def keeping(s: Snapshot, situation: Situation) -> Keeping:
    """Steps forward wait; everything else never does."""
    if isinstance(situation, Acting) and situation.effect == ReleaseFinalizer(False):
        return Keeping.TRIED
    return Keeping.REQUIRED if _goes_forward(s, situation) else Keeping.LATER


def held(s: Snapshot, situation: Situation, known: Known) -> Waiting | None:
    """What a step forward becomes while receipts are not kept; None where nothing holds it up."""
    trouble = known.trouble
    if trouble is None or not _goes_forward(s, situation):
        return None
    return Waiting(trouble.reason, trouble.message, stalled=trouble.stalled)


def speaks_to_sink(status: ReleaseStatus) -> bool:
    """Whether the sink may be spoken to at all: while users are on their way back, not even a slow answer may be
    waited for."""
    return status.phase is not Phase.ROLLING_BACK


def _goes_forward(s: Snapshot, situation: Situation) -> bool:
    if s.deleting or s.status.phase in _GOING_BACK:
        return False
    match situation:
        case Acting(effect=effect, reason=reason):
            upkeep = s.status.upgrade is None and isinstance(effect, PublishColour)
            return not (upkeep or reason in _PROTECTING or isinstance(effect, ReleaseFinalizer))
        case Starting() | Advancing() | Ending():
            return True
        case _:
            return False
