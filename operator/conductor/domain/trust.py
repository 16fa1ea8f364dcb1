"""Whether a decision may stand that was made on what the watches showed, or has to be made on a fresh read.

What the watches show is some earlier state of each kind of object, and not of the same moment for all kinds.
Such a decision may therefore only say that there is nothing to do: it writes words about the present phase,
valid only against the release's resource version. Whatever changes a phase or touches an object, also a claim
(that of a new leader must miss nothing), is decided again on a fresh read and made on that alone; so is every
word that calls a person.
"""

from conductor.api.reasons import Reason
from conductor.domain.situation import Rejecting, Situation, Waiting
from conductor.domain.snapshot import Snapshot


def may_stand(s: Snapshot, situation: Situation) -> bool:
    """Whether a decision on what the watches showed is carried out as it is."""
    if not isinstance(situation, Waiting | Rejecting):
        return False
    status = s.status
    if status.receipts is not None and status.receipts.open is not None:
        # What became of an effect is judged by what is there, not by what the watches have shown of it yet.
        return False
    if isinstance(situation, Waiting) and "sized" in situation.changes:
        # No watch shows autoscalers and budgets: that there is none left must have been read this very moment.
        return False
    # What an Event tells of a Job is read afresh, and no watch shows it.
    calls = (
        isinstance(situation, Rejecting) or situation.stalled or situation.reason is Reason.JOB_POD_MISSING
    )
    if calls and (status.reason, status.message) != (situation.reason, situation.message):
        return False
    # A status that is written in an upgrade says that this leader has claimed everything.
    return status.upgrade is None or status.epoch == s.epoch
