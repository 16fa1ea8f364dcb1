"""What a snapshot amounts to: one of a few situations, each with a reason that stands in `api.reasons`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import Effect


@dataclass(frozen=True)
class Waiting:
    """Nothing to do until something changes, or until `until`."""

    reason: Reason
    message: str
    until: datetime | None = None
    stalled: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Acting:
    """One effect brings the cluster closer; `changes` of the upgrade's status are written with the intent."""

    effect: Effect
    reason: Reason
    message: str
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Advancing:
    """The phase has reached its end."""

    phase: Phase
    reason: Reason
    message: str
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Starting:
    """An upgrade (or the first install) begins."""

    revision: str
    version: str
    phase: Phase
    message: str


@dataclass(frozen=True)
class Recognising:
    """What serves is another revision than the status says, and nothing has to be moved for it.

    One that was adopted, or that an earlier release left. No revision: nothing of this release serves any more, what
    was adopted is handed back.
    """

    revision: str
    version: str
    colour: Colour | None
    reason: Reason
    message: str


@dataclass(frozen=True)
class Failing:
    """The upgrade is to be taken back; where from decides whether that is a refusal or a rollback."""

    reason: Reason
    message: str
    outcome: Outcome = Outcome.ROLLED_BACK
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """The upgrade is over; the release is Stable again. `reason` may be a newer operator's word."""

    outcome: Outcome
    reason: str
    message: str
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejecting:
    """The input cannot be used; nothing is written to the cluster."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Refusing:
    """A command cannot be followed; it is answered once and then left standing."""

    command: str
    reason: Reason
    message: str


Situation = Waiting | Acting | Advancing | Starting | Recognising | Failing | Ending | Rejecting | Refusing
