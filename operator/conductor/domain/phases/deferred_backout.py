"""An expand step whose upgrade was taken back and whose schema stays: taken back on a person's word, at rest.

The new version may have written, so that nothing of this is automatic. `status.pendingBackout.state: Committed` is the
intent; from then on no upgrade begins before the Job has ended.
"""

from typing import Any

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Migrations, SecretKey
from conductor.api.status import ContractState, PendingBackout, Phase
from conductor.domain.phases.context import Context, approval, approved
from conductor.domain.phases.jobs import attend, job_of, read, worth_another
from conductor.domain.semver import older
from conductor.domain.situation import Advancing, Situation, Waiting
from conductor.domain.snapshot import Snapshot

BACKOUT = "backout"
#: What a person may approve where rows would be lost.
ACCEPT_LOSS = "accept-loss"


def left_standing(context: Context) -> PendingBackout | None:
    """The expand step that this upgrade ends without having taken back, or None."""
    migrator = context.migrator
    if migrator is None or not context.upgrade.expanded:
        return None
    return PendingBackout(
        id=context.upgrade.id,
        from_=context.upgrade.from_,
        to=context.upgrade.to,
        image=migrator.image,
        secret_name=migrator.secret_name,
        secret_key=migrator.secret_key,
        attempt=context.upgrade.attempt + 1 if job_of(context.s, context.upgrade, BACKOUT) else 1,
    )


def how_to_take_back(s: Snapshot, upgrade: str, version: str) -> str:
    """In words, for a person."""
    return f"an upgrade to {version} or later takes it up again, or take it back: {approval(s, upgrade, BACKOUT)}"


def loss(s: Snapshot, upgrade: str, version: str, rows: int | None) -> str:
    """What would be lost, and how a person says that it may; empty where nothing would."""
    if not rows:
        return ""
    return (
        f"; {rows} rows say something in the shape of {version} that the other one does not, which would be lost: "
        f"correct them, or let it be lost: {approval(s, upgrade, ACCEPT_LOSS)}"
    )


def committed_backout(s: Snapshot) -> Situation | None:
    """Go on with a backout whose intent is written; None where there is none."""
    pending = s.status.pending_backout
    if pending is None or pending.state is not ContractState.COMMITTED:
        return None
    move = attend(s, pending, _migrations(s, pending), BACKOUT, accept_loss=pending.accept_loss)
    if move is not None:
        return move
    outcome = read(job_of(s, pending, BACKOUT), BACKOUT)
    if outcome.well:
        done = {"pending_backout": None, "migrations": outcome.status}
        return Advancing(Phase.STABLE, Reason.BACKED_OUT, outcome.message, done)
    if worth_another(outcome, pending):
        again = pending.model_copy(update={"attempt": pending.attempt + 1})
        said = f"attempt {pending.attempt} failed, trying again ({outcome.message})"
        return Advancing(Phase.STABLE, Reason.CLEANING_UP, said, {"pending_backout": again})
    message = outcome.message + loss(s, pending.id, pending.to, outcome.status.divergence)
    failed = pending.model_copy(update={"state": ContractState.FAILED, "message": message})
    return Advancing(
        Phase.STABLE, Reason.BACKOUT_FAILED, f"the backout failed ({message})", {"pending_backout": failed}
    )


def backout_asked_for(s: Snapshot, coming: str) -> Situation | None:
    """Write the intent where a person approved it or its repetition; None where nobody did.

    `coming`: the version of an upgrade that is about to begin, which may take the schema up again; empty for none.
    """
    pending = s.status.pending_backout
    if pending is None or not _still_back(s, pending) or (coming and not older(coming, pending.to)):
        return None
    if pending.state is ContractState.PENDING and approved(s, pending.id, BACKOUT):
        return _commit(pending, "was approved", {})
    if pending.state is not ContractState.FAILED:
        return None
    if not pending.accept_loss and approved(s, pending.id, ACCEPT_LOSS):
        return _commit(pending, "is tried again, rows may be lost", {"accept_loss": True})
    if s.annotations.get(names.ANNOTATION_RETRY) == f"{pending.id}/{BACKOUT}/{pending.attempt}":
        return _commit(pending, "is tried again", {})
    return None


def backout_at_rest(s: Snapshot) -> Waiting | None:
    """What a release at rest says about it; None where nothing stays."""
    pending = s.status.pending_backout
    if pending is None or not _still_back(s, pending):
        return None
    stays = f"{s.status.active_version} serves; what the expand step of {pending.to} added stays"
    if pending.state is ContractState.FAILED:
        return Waiting(
            Reason.BACKOUT_FAILED,
            f"spec.migrations: {stays}, the backout failed ({pending.message}); mend it, then annotate "
            f"{names.ANNOTATION_RETRY}={pending.id}/{BACKOUT}/{pending.attempt}",
            stalled=True,
        )
    return Waiting(
        Reason.BACKOUT_PENDING,
        f"{stays} ({Reason.EXPANDED_KEPT}), both versions work on it; "
        f"{how_to_take_back(s, pending.id, pending.to)}",
    )


def taken_up(context: Context) -> dict[str, Any]:
    """Changes of an upgrade whose expand step found what stayed: from here on it is that one's to take back."""
    pending = context.s.status.pending_backout
    if pending is None or older(context.upgrade.to, pending.to):
        return {}
    return {"pending_backout": None}


def _still_back(s: Snapshot, pending: PendingBackout) -> bool:
    """Whether what serves does without what would be removed."""
    return bool(s.status.active_version) and older(s.status.active_version, pending.to)


def _commit(pending: PendingBackout, why: str, changes: dict[str, Any]) -> Advancing:
    attempt = pending.attempt + (1 if pending.state is ContractState.FAILED else 0)
    update = {"state": ContractState.COMMITTED, "attempt": attempt, "message": "", **changes}
    said = f"the backout of {pending.to} {why}"
    return Advancing(
        Phase.STABLE, Reason.CLEANING_UP, said, {"pending_backout": pending.model_copy(update=update)}
    )


def _migrations(s: Snapshot, pending: PendingBackout) -> Migrations:
    """The image of the version that is taken back, unless the spec has a corrected one of it; the Secret of today."""
    live = s.spec.migrations if s.spec is not None else None
    corrected = live is not None and s.spec is not None and s.spec.version == pending.to
    secret = live.database_secret_ref if live else SecretKey(name=pending.secret_name, key=pending.secret_key)
    return Migrations(image=live.image if live and corrected else pending.image, database_secret_ref=secret)
