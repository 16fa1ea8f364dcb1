"""Expanding, Migrating and Contracting, and taking an expand step back: one Job per attempt."""

from dataclasses import replace
from typing import Any

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import ContractPolicy
from conductor.api.status import Outcome, Phase
from conductor.domain.logins import LoginPair, to_open
from conductor.domain.phases.bring_up import brought_up_again
from conductor.domain.phases.context import Context, approval
from conductor.domain.phases.deferred_backout import ACCEPT_LOSS, loss, taken_up
from conductor.domain.phases.deferred_contract import first
from conductor.domain.phases.expanded import before_expanding, hurt_by_expanding
from conductor.domain.phases.jobs import (
    ATTEMPTS,
    FAILED_FOR_GOOD,
    JobOutcome,
    attend,
    job_of,
    never_connected,
    read,
    unfinished,
    worth_another,
)
from conductor.domain.phases.progress import with_progress
from conductor.domain.phases.sessions import (
    fence,
    login_lost,
    unproven_sessions,
    waits_for_a_person,
    word_awaited,
)
from conductor.domain.situation import Acting, Advancing, Ending, Failing, Situation, Waiting
from conductor.domain.versioned import delete

#: What a person may approve where a backout does not come to its end.
KEEP_EXPANDED = "keep-expanded"


def expanding(context: Context) -> Situation:
    """Additive changes and two-way synchronisation, before green exists."""
    if (former := first(context)) is not None:
        return former
    if context.migrations is None:
        fenced = login_lost(context)
        return Failing(*fenced, Outcome.REFUSED) if fenced else _nothing_to_expand()
    opened = to_open(context.migrations, context.upgrade, context.from_)
    noted = before_expanding(context)
    if isinstance(noted, Waiting):
        return noted
    if (
        pending := _attend(
            context, "expand", {"expanded": True, "migrator": context.migrator, **noted}, logins=opened
        )
    ) is not None:
        return _given_up(context, pending, "expand") or pending
    outcome = _read(context, "expand")
    if not outcome.well and worth_another(outcome, context.upgrade):
        return _again(context, Reason.EXPAND_FAILED, outcome.message)
    if not outcome.well:
        return Failing(
            Reason.EXPAND_FAILED,
            f"spec.migrations: the expand step failed, nothing of {context.upgrade.to} runs ({outcome.message})",
            Outcome.REFUSED,
        )
    changes: dict[str, Any] = {"migrations": outcome.status, **taken_up(context)}
    if opened is not None:
        changes["fenced_login"] = ""
    if outcome.status.state == "not-applicable":
        changes["expanded"] = False
        changes.pop("pending_backout", None)
    elif (hurt := hurt_by_expanding(context)) is not None:
        return hurt
    elif context.s.status.pending_contract is not None:
        # This upgrade crosses the version whose step was left for later, and contracts it with its own.
        changes["pending_contract"] = None
    # Said while the upgrade can still be taken back and tried again with what is missing.
    foreseen = waits_for_a_person(context) if changes.get("expanded", True) else None
    said = f"{outcome.message}; {foreseen}" if foreseen else outcome.message
    return Advancing(Phase.BRINGING_UP, Reason.STARTED, said, changes)


def _nothing_to_expand() -> Advancing:
    return Advancing(Phase.BRINGING_UP, Reason.STARTED, "no migrations")


def migrating(context: Context) -> Situation:
    """The backfill; resumable, so it is tried again before it is given up."""
    if (found := brought_up_again(context) or hurt_by_expanding(context)) is not None:
        return found
    if context.migrations is None or not context.upgrade.expanded:
        return Advancing(Phase.VERIFYING, Reason.STARTED, "no migrations")
    if (pending := _attend(context, "migrate")) is not None:
        return _given_up(context, pending, "migrate") or with_progress(context.s, pending)
    outcome = _read(context, "migrate")
    if outcome.well and outcome.status.divergence:
        return Failing(
            Reason.DIVERGED,
            f"spec.migrations: {outcome.status.divergence} rows differ between the shapes of {context.upgrade.from_} "
            f"and {context.upgrade.to}; correct the synchronisation of the expand step",
            Outcome.REFUSED,
            {"migrations": outcome.status},
        )
    if outcome.well:
        return Advancing(Phase.VERIFYING, Reason.STARTED, outcome.message, {"migrations": outcome.status})
    if outcome.exit_code != FAILED_FOR_GOOD and context.upgrade.attempt < ATTEMPTS:
        return _again(context, Reason.MIGRATE_FAILED, outcome.message)
    return Failing(
        Reason.MIGRATE_FAILED,
        f"spec.migrations: the migrate step failed in attempt {context.upgrade.attempt} ({outcome.message})",
        Outcome.REFUSED,
    )


def contract_due(context: Context) -> bool:
    """Whether this upgrade ends with its contract step."""
    said, migrations = context.s.status.migrations, context.migrations
    if migrations is None or not context.upgrade.expanded or said is None or said.state == "not-applicable":
        return False
    proven = migrations.contract is ContractPolicy.AFTER_SOAK and fence(context) is not None
    return proven or context.approved("contract")


def contracting(context: Context) -> Situation:
    """Forward only: the phase itself is the intent that closed the rollback window."""
    cut_off = fence(context)
    if (word := word_awaited(context.s, context.upgrade, cut_off, unproven_sessions(context))) is not None:
        return word
    if (pending := _attend(context, "contract", logins=cut_off)) is not None:
        return pending
    outcome = _read(context, "contract")
    if outcome.well:
        floor = context.upgrade.to if outcome.status.state == "contracted" else context.s.status.schema_floor
        return Ending(
            Outcome.SUCCEEDED,
            Reason.SUCCEEDED,
            outcome.message,
            {
                "migrations": outcome.status,
                "schema_floor": floor,
                **({"fenced_login": cut_off.idle} if cut_off else {}),
            },
        )
    if worth_another(outcome, context.upgrade):
        return _again(context, Reason.CONTRACTING, outcome.message)
    if _retried(context, "contract"):
        return _next_attempt(context, Reason.CONTRACTING, "trying the contract step again")
    return Waiting(
        Reason.CONTRACT_FAILED,
        f"spec.migrations: the contract step failed ({outcome.message}); mend it, then annotate "
        f"{names.ANNOTATION_RETRY}={context.upgrade.id}/contract/{context.upgrade.attempt}",
        stalled=True,
    )


def back_out_schema(context: Context) -> Situation | None:
    """Undo the expand step after a refusal; None when there is nothing (more) to undo."""
    s, upgrade = context.s, context.upgrade
    if not upgrade.expanded:
        # One that never started must not begin after its upgrade has ended.
        late = unfinished(s, upgrade, "expand")
        said = f"removing {', '.join(name for _, name in late)}, which never started"
        return Acting(delete(s, late), Reason.CLEANING_UP, said) if late else None
    if context.migrations is None or not upgrade.from_revision or expanded_kept(context):
        return None
    if never_connected(s, upgrade, "expand"):
        said = "the expand step never had a connection to the database: there is nothing to take back"
        return Advancing(Phase.BACKING_OUT, Reason.CLEANING_UP, said, {"expanded": False})
    pending = _attend(context, "backout", accept_loss=upgrade.accept_loss)
    if pending is not None and not (isinstance(pending, Waiting) and pending.stalled):
        return pending
    outcome = _read(context, "backout")
    if outcome.well:
        return None
    if pending is None and worth_another(outcome, upgrade):
        return _again(context, Reason.CLEANING_UP, outcome.message)
    if pending is None and _retried(context, "backout"):
        return _next_attempt(context, Reason.CLEANING_UP, "trying the backout step again")
    if pending is None and context.approved(ACCEPT_LOSS) and not upgrade.accept_loss:
        allowed = _next_attempt(
            context, Reason.CLEANING_UP, "trying the backout step again, rows may be lost"
        )
        return replace(allowed, changes={**allowed.changes, "accept_loss": True})
    said = pending.message if isinstance(pending, Waiting) else outcome.message
    said += loss(s, upgrade.id, upgrade.to, outcome.status.divergence)
    retry = (
        "" if pending else f", then annotate {names.ANNOTATION_RETRY}={upgrade.id}/backout/{upgrade.attempt}"
    )
    return Waiting(
        Reason.BACKOUT_FAILED,
        f"spec.migrations: the backout step failed, {upgrade.from_} serves and what the expand step added may still "
        f"be there ({said}); mend it{retry}; or let "
        f"the expanded schema stay: {approval(s, upgrade.id, KEEP_EXPANDED)}",
        stalled=True,
    )


def expanded_kept(context: Context) -> bool:
    """Whether what the expand step added stays although its upgrade is taken back."""
    if not context.upgrade.expanded:
        return False
    backed_out = _read(context, "backout").well
    return may_have_written(context) or (context.approved(KEEP_EXPANDED) and not backed_out)


def may_have_written(context: Context) -> bool:
    """Whether the candidate answered users, or people who asked for it: what these wrote is in the new shape alone."""
    return context.upgrade.took_traffic or context.upgrade.previewed > 0


def _attend(
    context: Context,
    verb: str,
    changes: dict[str, Any] | None = None,
    *,
    logins: LoginPair | None = None,
    accept_loss: bool = False,
) -> Acting | Waiting | None:
    if context.migrations is None:
        return None
    until = context.upgrade.deadline
    return attend(
        context.s,
        context.upgrade,
        context.migrations,
        verb,
        until=until,
        changes=changes,
        logins=logins,
        accept_loss=accept_loss,
    )


def _read(context: Context, verb: str) -> JobOutcome:
    return read(job_of(context.s, context.upgrade, verb), verb)


def _given_up(context: Context, pending: Acting | Waiting, verb: str) -> Failing | None:
    """A Job that cannot start, or whose time is over before it ended; one that ended has its say first."""
    if isinstance(pending, Waiting) and pending.stalled:
        return Failing(pending.reason, pending.message, Outcome.REFUSED)
    if not context.past(context.upgrade.deadline):
        return None
    name = names.job_name(context.s.name, context.upgrade.id, verb, context.upgrade.attempt)
    return Failing(
        Reason.MIGRATE_DEADLINE,
        f"spec.deadlines.migrate: the {verb} step did not end in time; look at `kubectl logs job/{name}` or raise "
        "the deadline",
        Outcome.REFUSED,
    )


def _again(context: Context, reason: Reason, message: str) -> Advancing:
    said = f"attempt {context.upgrade.attempt} failed, trying again ({message})"
    return _next_attempt(context, reason, said)


def _next_attempt(context: Context, reason: Reason, message: str) -> Advancing:
    return Advancing(context.s.status.phase, reason, message, {"attempt": context.upgrade.attempt + 1})


def _retried(context: Context, verb: str) -> bool:
    wanted = f"{context.upgrade.id}/{verb}/{context.upgrade.attempt}"
    return context.s.annotations.get(names.ANNOTATION_RETRY) == wanted
