"""A contract step that its upgrade left for later: approved at rest, or the first thing of the next upgrade.

The intent that closes the way back is `status.pendingContract.state: Committed`, written with the schema floor
before any Job exists. From then on it goes forward only, whatever the spec says.
"""

from typing import Any

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import ContractPolicy, Migrations, SecretKey
from conductor.api.status import ContractState, Outcome, PendingContract, Phase
from conductor.domain.logins import LoginPair, declared, role_of, to_fence, unproven
from conductor.domain.phases.context import Context, approval, approved
from conductor.domain.phases.jobs import JobOutcome, attend, job_of, read, worth_another
from conductor.domain.phases.sessions import word_awaited
from conductor.domain.semver import older
from conductor.domain.situation import Acting, Advancing, Failing, Situation, Waiting
from conductor.domain.snapshot import Snapshot

_NOTHING_TO_DO = frozenset({"not-applicable", "contracted"})


def left_for_later(context: Context) -> PendingContract | None:
    """The contract step that this upgrade ends without, or None."""
    said, migrations = context.s.status.migrations, context.migrations
    if not context.upgrade.expanded or migrations is None or said is None or said.state in _NOTHING_TO_DO:
        return None
    return PendingContract(
        id=context.upgrade.id,
        from_=context.upgrade.from_,
        to=context.upgrade.to,
        revision=context.to.hash,
        policy=migrations.contract,
        image=migrations.image,
        secret_name=migrations.database_secret_ref.name,
        secret_key=migrations.database_secret_ref.key,
        replica_keys=migrations.replica_keys,
        login=context.old_login,
        logins=migrations.logins,
    )


def fence(s: Snapshot, pending: PendingContract) -> LoginPair | None:
    """What the step fences now; None where that would prove nothing about the old version."""
    return to_fence(pending.login, _serving_login(s))


def sessions_unproven(s: Snapshot, pending: PendingContract) -> str:
    """Why, and what a person has to see to instead."""
    return unproven(pending.from_, pending.login, _serving_login(s))


def reason_of(s: Snapshot, pending: PendingContract) -> Reason:
    """Whether it waits because that was asked for, or because nothing is proven."""
    asked = pending.policy is ContractPolicy.MANUAL or fence(s, pending) is not None
    return Reason.CONTRACT_PENDING if asked else Reason.SESSIONS_UNPROVEN


def _serving_login(s: Snapshot) -> str:
    live = s.spec.migrations if s.spec is not None and s.digest == s.status.active_revision else None
    colour = s.status.traffic.current
    return role_of(live.logins, colour) if live is not None else declared(s.active, colour)


def possible(s: Snapshot, pending: PendingContract) -> bool:
    """Whether what serves can do without what the contract step removes."""
    return bool(s.status.active_version) and not older(s.status.active_version, pending.to)


def how_to_run(s: Snapshot, pending: PendingContract) -> str:
    """In words, for a person."""
    if fence(s, pending) is None:
        return f"{sessions_unproven(s, pending)}, then run it: {approval(s, pending.id, 'contract')}"
    by_itself = (
        "the next upgrade with migrations runs it first, or run it now: "
        if pending.policy is ContractPolicy.NEXT_UPGRADE
        else ""
    )
    return f"{by_itself}{approval(s, pending.id, 'contract')}"


# at rest


def committed(s: Snapshot) -> Situation | None:
    """Go on with a contract step whose intent is written; None where there is none."""
    pending = s.status.pending_contract
    if pending is None or pending.state is not ContractState.COMMITTED:
        return None
    if s.status.phase is not Phase.CONTRACTING:
        return Advancing(Phase.CONTRACTING, Reason.CONTRACTING, f"running the contract step of {pending.to}")
    outcome = _attend(s, pending)
    if not isinstance(outcome, JobOutcome):
        return outcome
    if outcome.well:
        done = {"pending_contract": None, "migrations": outcome.status, **_fenced(s, pending)}
        return Advancing(Phase.STABLE, Reason.CONTRACTED, outcome.message, done)
    failed = {"pending_contract": _failed(pending, outcome)}
    return Advancing(
        Phase.STABLE, Reason.CONTRACTING, f"the contract step failed ({outcome.message})", failed
    )


def asked_for(s: Snapshot, wanted: str) -> Situation | None:
    """Write the intent where a person approved the step, or its repetition; None where nobody did.

    `wanted`: the version that the spec asks for; one that needs the old shape comes first, and is not cut off.
    """
    pending = s.status.pending_contract
    if pending is None or not possible(s, pending) or older(wanted, pending.to):
        return None
    if pending.state is ContractState.PENDING and approved(s, pending.id, "contract"):
        return _commit(pending, "was approved")
    again = s.annotations.get(names.ANNOTATION_RETRY) == f"{pending.id}/contract/{pending.attempt}"
    if pending.state is ContractState.FAILED and again:
        return _commit(pending, "is tried again")
    return None


def at_rest(s: Snapshot) -> Waiting | None:
    """What a release at rest says about it; None where no contract step is pending."""
    pending = s.status.pending_contract
    if pending is None:
        return None
    serves = f"{s.status.active_version} serves"
    if pending.state is ContractState.FAILED:
        return Waiting(
            Reason.CONTRACT_FAILED,
            f"spec.migrations: {serves}; the contract step of {pending.to} failed ({pending.message}); mend it, then "
            f"annotate {names.ANNOTATION_RETRY}={pending.id}/contract/{pending.attempt}",
            stalled=True,
        )
    if not possible(s, pending):
        message = (
            f"{serves} and needs what the contract step of {pending.to} removes; that waits until "
            f"{pending.to} or later serves again"
        )
    else:
        message = f"{serves}; the contract step of {pending.to} is still to come: {how_to_run(s, pending)}"
        return Waiting(reason_of(s, pending), message)
    return Waiting(Reason.CONTRACT_PENDING, message)


def _commit(pending: PendingContract, why: str) -> Advancing:
    message = f"the contract step of {pending.to} {why}; nothing older can serve from here on"
    return Advancing(Phase.CONTRACTING, Reason.CONTRACTING, message, _intent(pending))


def _intent(pending: PendingContract) -> dict[str, Any]:
    attempt = pending.attempt + (1 if pending.state is ContractState.FAILED else 0)
    update = {"state": ContractState.COMMITTED, "attempt": attempt, "message": ""}
    return {"pending_contract": pending.model_copy(update=update), "schema_floor": pending.to}


# in the next upgrade


def question(context: Context) -> Situation | None:
    """In Preflight: does this upgrade bring migrations, and may another contract step go before them?"""
    s, pending, migrations = context.s, _before_this(context), context.spec.migrations
    if pending is None or migrations is None:
        return None
    if (move := attend(s, context.upgrade, migrations, "inspect")) is not None:
        if isinstance(move, Waiting) and move.stalled:
            return Failing(move.reason, move.message, Outcome.REFUSED)
        return move
    outcome = read(job_of(s, context.upgrade, "inspect"), "inspect")
    if not outcome.well and worth_another(outcome, context.upgrade):
        said = f"attempt {context.upgrade.attempt} failed, trying again ({outcome.message})"
        changes = {"attempt": context.upgrade.attempt + 1}
        return Advancing(s.status.phase, Reason.INSPECT_FAILED, said, changes)
    if not outcome.well:
        return Failing(
            Reason.INSPECT_FAILED,
            f"spec.migrations: it cannot be told whether {context.upgrade.to} brings migrations, while the contract "
            f"step of {pending.to} is still to come ({outcome.message})",
            Outcome.REFUSED,
        )
    if outcome.status.state in _NOTHING_TO_DO or _goes_first(context, pending):
        return None
    seen_to = f"{sessions_unproven(s, pending)}; " if fence(s, pending) is None else ""
    return Waiting(
        reason_of(s, pending),
        f"spec.version: {context.upgrade.to} brings migrations, and the contract step of {pending.to} is still to "
        f"come (it was left with contract: {pending.policy}); {seen_to}approve that it goes first: "
        f"{approval(s, pending.id, 'contract')}, or put spec back",
        stalled=True,
    )


def intent_of_next(context: Context) -> dict[str, Any]:
    """Changes that commit the pending step as this upgrade leaves Preflight; none where it does not go first."""
    pending = _before_this(context)
    if pending is None or context.spec.migrations is None:
        return {}
    outcome = read(job_of(context.s, context.upgrade, "inspect"), "inspect")
    return {} if outcome.status.state in _NOTHING_TO_DO else _intent(pending)


def first(context: Context) -> Situation | None:
    """In Expanding: the committed step of the former upgrade, before anything of this one; None once it is done."""
    pending = context.s.status.pending_contract
    if pending is None or pending.state is not ContractState.COMMITTED:
        return None
    outcome = _attend(context.s, pending)
    if not isinstance(outcome, JobOutcome):
        return outcome
    if outcome.well:
        done = {
            "pending_contract": None,
            "migrations": outcome.status,
            "deadline": context.s.now + context.spec.deadlines.migrate,
            **_fenced(context.s, pending),
        }
        return Advancing(Phase.EXPANDING, Reason.CONTRACTED, outcome.message, done)
    return Failing(
        Reason.CONTRACT_FAILED,
        f"spec.migrations: the contract step of {pending.to}, which goes before {context.upgrade.to}, failed "
        f"({outcome.message})",
        Outcome.REFUSED,
        {"pending_contract": _failed(pending, outcome)},
    )


def _before_this(context: Context) -> PendingContract | None:
    """The pending step, where it can and may go first: neither what serves nor what comes needs what it removes."""
    pending = context.s.status.pending_contract
    if pending is None or not possible(context.s, pending) or older(context.to.version, pending.to):
        return None
    return pending


def _goes_first(context: Context, pending: PendingContract) -> bool:
    by_itself = pending.policy is ContractPolicy.NEXT_UPGRADE and fence(context.s, pending) is not None
    return by_itself or approved(context.s, pending.id, "contract")


# both


def _attend(s: Snapshot, pending: PendingContract) -> Acting | Waiting | Advancing | JobOutcome:
    """The Job of the present attempt: what to do about it, or how it ended for good."""
    cut_off = fence(s, pending)
    if (word := word_awaited(s, pending, cut_off, sessions_unproven(s, pending))) is not None:
        return word
    if (move := attend(s, pending, _migrations(s, pending), "contract", logins=cut_off)) is not None:
        return move
    outcome = read(job_of(s, pending, "contract"), "contract")
    if outcome.well or not worth_another(outcome, pending):
        return outcome
    return Advancing(
        s.status.phase,
        Reason.CONTRACTING,
        f"attempt {pending.attempt} failed, trying again ({outcome.message})",
        {"pending_contract": pending.model_copy(update={"attempt": pending.attempt + 1})},
    )


def _fenced(s: Snapshot, pending: PendingContract) -> dict[str, Any]:
    cut_off = fence(s, pending)
    return {"fenced_login": cut_off.idle} if cut_off else {}


def _failed(pending: PendingContract, outcome: JobOutcome) -> PendingContract:
    return pending.model_copy(update={"state": ContractState.FAILED, "message": outcome.message})


def _migrations(s: Snapshot, pending: PendingContract) -> Migrations:
    """The image that its upgrade ran with, unless what serves has a corrected one; the Secret of today."""
    live = s.spec.migrations if s.spec is not None else None
    if live is not None and s.digest in (pending.revision, s.status.active_revision):
        return live
    secret = live.database_secret_ref if live else SecretKey(name=pending.secret_name, key=pending.secret_key)
    keys = live.replica_keys if live else pending.replica_keys
    return Migrations(
        image=pending.image,
        database_secret_ref=secret,
        replica_keys=keys,
        logins=live.logins if live else pending.logins,
        contract=pending.policy,
    )
