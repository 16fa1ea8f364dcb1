"""One decision, from a snapshot to the plan that is carried out: situation, plan, and the receipts of both."""

from dataclasses import dataclass

from conductor.domain.determine import determine
from conductor.domain.keeping import Keeping, Known, held, keeping
from conductor.domain.plan import Plan, plan
from conductor.domain.receipts import record
from conductor.domain.situation import Acting, Situation
from conductor.domain.snapshot import Snapshot


@dataclass(frozen=True)
class Decision:
    """What a snapshot amounts to, what is done about it, and when the receipts of that are kept."""

    situation: Situation
    plan: Plan
    keeping: Keeping


def decide(s: Snapshot, known: Known) -> Decision:
    """Decide once."""
    situation = determine(s)
    decided = plan(s, held(s, situation, known) or situation)
    asked = situation.effect if isinstance(situation, Acting) else None
    return Decision(situation, record(s, known, decided, asked), keeping(s, situation))
