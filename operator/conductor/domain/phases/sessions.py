"""Sessions of the version that goes: what its login proves about them, and the candidate's login that was fenced."""

from conductor.api.reasons import Reason
from conductor.api.spec import ContractPolicy
from conductor.domain.logins import LoginPair, to_fence, unproven
from conductor.domain.manifests import Run
from conductor.domain.phases.context import Context, approval, approved
from conductor.domain.phases.jobs import job_of
from conductor.domain.situation import Waiting
from conductor.domain.snapshot import Snapshot


def fence(context: Context) -> LoginPair | None:
    """What this upgrade's contract step fences; None where that would prove nothing."""
    return to_fence(context.old_login, context.new_login)


def unproven_sessions(context: Context) -> str:
    """Why nothing is proven, and what a person has to see to instead."""
    return unproven(context.upgrade.from_, context.old_login, context.new_login)


def waits_for_a_person(context: Context) -> str | None:
    """Said where contract does so only because nothing is proven, and not because that was asked for."""
    manual = context.migrations is not None and context.migrations.contract is ContractPolicy.MANUAL
    if context.from_ is None or manual or fence(context) is not None:
        return None
    return (
        f"{Reason.SESSIONS_UNPROVEN}: the contract step will wait for a person: {unproven_sessions(context)}"
    )


def word_awaited(s: Snapshot, run: Run, cut_off: LoginPair | None, why: str) -> Waiting | None:
    """Before the contract Job's first attempt, where nothing proves that the old version is gone: a person's word."""
    if cut_off is not None or job_of(s, run, "contract") is not None or approved(s, run.id, "contract"):
        return None
    return Waiting(
        Reason.SESSIONS_UNPROVEN,
        f"spec.migrations.logins: {why}; then: {approval(s, run.id, 'contract')}, or put logins back",
        stalled=True,
    )


def login_lost(context: Context) -> tuple[Reason, str] | None:
    """The last contract step fenced a login, and no Job of this upgrade would give it back before pods need it."""
    s, fenced, migrations = context.s, context.s.status.fenced_login, context.migrations
    if not fenced or (migrations is not None and migrations.logins is not None):
        return None
    forget = '{"status":{"fencedLogin":""}}'
    return (
        Reason.LOGIN_FENCED,
        f"spec.migrations.logins: role {fenced} of colour {context.upgrade.to_colour} was fenced by the last contract "
        "step, and the expand step of an upgrade gives it LOGIN again; keep spec.migrations with its logins, or, where "
        f"{context.upgrade.to} does not log in with it: kubectl -n {s.namespace} patch cpr {s.name} "
        f"--subresource=status --type=merge -p '{forget}'",
    )
