"""What a traffic provider is: where users are led, as one snapshot shows it, and which effect leads them elsewhere.

Phases know this interface and nothing of what is behind it. A provider is bound to one snapshot and is pure: it plans
weights into effects, and it reads from the snapshot what is in force. One conformance suite holds every provider to
it (tests/unit/domain/test_traffic_providers.py).
"""

from dataclasses import dataclass
from typing import Protocol

from conductor.api.reasons import Reason
from conductor.api.traffic import Preview
from conductor.domain.effects import SwitchServices
from conductor.domain.revision import Revision
from conductor.domain.situation import Acting, Waiting


@dataclass(frozen=True)
class Inexpressible:
    """A weight that this provider cannot bring about here: the step is left out and `why` reported, never overshot."""

    why: str


class Traffic(Protocol):
    """Bound to one snapshot. `from_` is the version that users are taken from, `to` the one that they are led to."""

    def refusal(self, from_: Revision, to: Revision, *, ramped: bool) -> tuple[Reason, str] | None:
        """Why users could not be led from one to the other, with field, value and mend; asked before anything runs."""
        ...

    def can_ramp(self, from_: Revision) -> bool:
        """Whether users of that version can be moved in steps."""
        ...

    def prepare(self, from_: Revision, to: Revision) -> Acting | Waiting | None:
        """What has to be there before anybody can be led to `to`, which leads nobody there; None once it is."""
        ...

    def repair(self, from_: Revision, to: Revision) -> Acting | None:
        """What `prepare` made and somebody took away; None where nothing is missing."""
        ...

    def weigh(self, from_: Revision, to: Revision, percent: int) -> Acting | Waiting | Inexpressible | None:
        """The next move that gives `to` that share of users, and never more; None once it has it."""
        ...

    def approach(self, from_: Revision, to: Revision) -> Acting | Waiting | None:
        """What has to be right before everybody is led to `to`; None once it is. No way back waits for it."""
        ...

    def weight_gap(self, from_: Revision, to: Revision) -> str | None:
        """Why the share that was asked for is not proven to be in force yet; None when it is."""
        ...

    def preview_gap(self, from_: Revision, to: Revision, preview: Preview) -> str | None:
        """Why requests that ask for `to` cannot be led there, with the mend; None where nothing is known against it."""
        ...

    def preview(self, from_: Revision, to: Revision, preview: Preview) -> Acting | None:
        """The next move that leads requests to `to` that ask for it, and nobody else; None once they are."""
        ...

    def end_preview(self) -> Acting | None:
        """What leads nobody any more who asks for the candidate; None where none is led so."""
        ...

    def share(self, from_: Revision, to: Revision) -> int | None:
        """Percent of users that are led to `to` now, as observed; None where users are led to neither alone."""
        ...

    def switch_to(self, revision: Revision) -> SwitchServices:
        """Lead all users to one revision, as one effect."""
        ...

    def give_back(self, revision: Revision) -> SwitchServices | None:
        """What is not ours and was changed, as its owner wrote it; None where it is. Moves nobody at rest."""
        ...

    def leads_only_to(self, revision: Revision) -> bool:
        """Whether every user is led to that revision."""
        ...

    def may_lead_to(self, revision: Revision) -> bool:
        """Whether something leads users to that revision, be it among others."""
        ...

    def routing_gap(self, revision: Revision) -> str | None:
        """Why it is not proven that users reach that revision and no other; None when it is."""
        ...

    def hindrance(self) -> str | None:
        """What keeps traffic from being moved at all, with the mend; None where nothing does."""
        ...
