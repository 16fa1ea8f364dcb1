"""Expanding, Migrating and Contracting: one Job per attempt, and what its answer means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import ContractPolicy
from conductor.api.status import MigrationsStatus, Outcome, Phase
from conductor.domain.effects import CreateObject
from conductor.domain.manifests import migration_job
from conductor.domain.phases.bring_up import brought_up_again
from conductor.domain.phases.context import Context
from conductor.domain.situation import Acting, Advancing, Ending, Failing, Situation, Waiting
from conductor.domain.snapshot import JobState

_ATTEMPTS = 3
#: The runner ends with 1 when another attempt would end the same way, with 2 when it may not.
_FAILED_FOR_GOOD = 1
_WORTH_RETRYING = 2
_WELL_ENDED: Mapping[str, frozenset[str]] = {
    "expand": frozenset({"expanded", "migrated", "contracted", "not-applicable"}),
    "migrate": frozenset({"migrated", "contracted", "not-applicable"}),
    "contract": frozenset({"contracted", "not-applicable"}),
    "backout": frozenset({"backed-out", "none", "not-applicable"}),
}


@dataclass(frozen=True)
class JobOutcome:
    """What an ended Job said: done well or not, and its answer as status."""

    well: bool
    status: MigrationsStatus
    message: str


def job_of(context: Context, verb: str) -> JobState | None:
    """The Job of this verb's present attempt."""
    name = names.job_name(context.s.name, context.upgrade.id, verb, context.upgrade.attempt)
    return context.s.jobs.get(name)


def start_or_wait(context: Context, verb: str, changes: dict[str, Any] | None = None) -> Situation | None:
    """Start the Job or wait for it; None once it ended."""
    migrations = context.spec.migrations
    if migrations is None:
        return None
    job = job_of(context, verb)
    if job is None:
        manifest = migration_job(context.s, context.upgrade, migrations, verb)
        name = manifest["metadata"]["name"]
        return Acting(CreateObject(manifest), Reason.RUNNING_JOB, f"starting Job {name}", changes or {})
    if not job.succeeded and not job.failed:
        tail = f": {job.message}" if job.message else ""
        return Waiting(Reason.RUNNING_JOB, f"Job {job.name} is running{tail}", context.upgrade.deadline)
    return None


def read(job: JobState | None, verb: str) -> JobOutcome:
    """A Job's completion counts only with an answer that says so: exit code and termination message."""
    answer = dict(job.answer or {}) if job else {}
    try:
        status = MigrationsStatus.model_validate(
            {key: answer[key] for key in answer if answer[key] is not None} | {"verb": verb}
        )
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        status = MigrationsStatus(
            verb=verb, message=f"its answer has a wrong {wrong['loc'][0]}: {wrong['msg']}"
        )
    well = job is not None and job.succeeded and status.state in _WELL_ENDED[verb]
    mend = f"; {answer['mend']}" if answer.get("mend") else ""
    said = status.message or (job.message if job else "") or "it left no answer"
    return JobOutcome(well, status, f"Job {job.name if job else verb}: {said}{mend}")


def expanding(context: Context) -> Situation:
    """Additive changes and two-way synchronisation, before green exists."""
    if context.past(context.upgrade.deadline):
        return Failing(Reason.MIGRATE_DEADLINE, _late(context, "expand"), Outcome.REFUSED)
    if (pending := start_or_wait(context, "expand", {"expanded": True})) is not None:
        return pending
    outcome = read(job_of(context, "expand"), "expand")
    if not outcome.well and _exit_code(context, "expand") == _WORTH_RETRYING and _more(context):
        return _again(context, Phase.EXPANDING, Reason.EXPAND_FAILED, outcome.message)
    if not outcome.well:
        return Failing(
            Reason.EXPAND_FAILED,
            f"spec.migrations: the expand step failed, nothing of {context.upgrade.to} runs ({outcome.message})",
            Outcome.REFUSED,
        )
    changes: dict[str, Any] = {"migrations": outcome.status}
    if outcome.status.state == "not-applicable":
        changes["expanded"] = False
    return Advancing(Phase.BRINGING_UP, Reason.STARTED, outcome.message, changes)


def migrating(context: Context) -> Situation:
    """The backfill; resumable, so it is tried again before it is given up."""
    if (again := brought_up_again(context)) is not None:
        return again
    if context.spec.migrations is None:
        return Advancing(Phase.VERIFYING, Reason.STARTED, "no migrations")
    if context.past(context.upgrade.deadline):
        return Failing(Reason.MIGRATE_DEADLINE, _late(context, "migrate"), Outcome.REFUSED)
    if (pending := start_or_wait(context, "migrate")) is not None:
        return pending
    outcome = read(job_of(context, "migrate"), "migrate")
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
    if _exit_code(context, "migrate") != _FAILED_FOR_GOOD and _more(context):
        return _again(context, Phase.MIGRATING, Reason.MIGRATE_FAILED, outcome.message)
    return Failing(
        Reason.MIGRATE_FAILED,
        f"spec.migrations: the migrate step failed in attempt {context.upgrade.attempt} ({outcome.message})",
        Outcome.REFUSED,
    )


def _exit_code(context: Context, verb: str) -> int | None:
    job = job_of(context, verb)
    return job.exit_code if job else None


def _more(context: Context) -> bool:
    return context.upgrade.attempt < _ATTEMPTS


def _again(context: Context, phase: Phase, reason: Reason, message: str) -> Advancing:
    attempt = context.upgrade.attempt
    said = f"attempt {attempt} failed, trying again ({message})"
    return Advancing(phase, reason, said, {"attempt": attempt + 1})


def contract_due(context: Context) -> bool:
    """Whether this upgrade ends with its contract step."""
    migrations = context.spec.migrations
    if migrations is None or context.s.status.migrations is None:
        return False
    if context.s.status.migrations.state == "not-applicable":
        return False
    return migrations.contract is ContractPolicy.AFTER_SOAK or context.approved("contract")


def contracting(context: Context) -> Situation:
    """Forward only: the phase itself is the intent that closed the rollback window."""
    if (pending := start_or_wait(context, "contract")) is not None:
        return pending
    outcome = read(job_of(context, "contract"), "contract")
    if outcome.well:
        floor = context.upgrade.to if outcome.status.state == "contracted" else context.s.status.schema_floor
        return Ending(
            Outcome.SUCCEEDED,
            Reason.SUCCEEDED,
            outcome.message,
            {"migrations": outcome.status, "schema_floor": floor},
        )
    if _retried(context, "contract"):
        return Advancing(
            Phase.CONTRACTING,
            Reason.CONTRACTING,
            "trying the contract step again",
            {"attempt": context.upgrade.attempt + 1},
        )
    return Waiting(
        Reason.CONTRACT_FAILED,
        f"spec.migrations: the contract step failed ({outcome.message}); mend it, then annotate "
        f"{names.ANNOTATION_RETRY}={context.upgrade.id}/contract/{context.upgrade.attempt}",
        stalled=True,
    )


def back_out_schema(context: Context) -> Situation | None:
    """Undo the expand step after a refusal; None when there is nothing (more) to undo."""
    if not context.upgrade.expanded or context.spec.migrations is None or not context.upgrade.from_revision:
        return None
    if (pending := start_or_wait(context, "backout")) is not None:
        return pending
    outcome = read(job_of(context, "backout"), "backout")
    if outcome.well:
        return None
    if _retried(context, "backout"):
        return Advancing(
            Phase.BACKING_OUT,
            Reason.CLEANING_UP,
            "trying the backout step again",
            {"attempt": context.upgrade.attempt + 1},
        )
    return Waiting(
        Reason.BACKOUT_FAILED,
        f"spec.migrations: the backout step failed, {context.upgrade.from_} serves and what the expand step "
        f"added may still be there ({outcome.message}); mend it, then annotate "
        f"{names.ANNOTATION_RETRY}={context.upgrade.id}/backout/{context.upgrade.attempt}",
        stalled=True,
    )


def _retried(context: Context, verb: str) -> bool:
    wanted = f"{context.upgrade.id}/{verb}/{context.upgrade.attempt}"
    return context.s.annotations.get(names.ANNOTATION_RETRY) == wanted


def _late(context: Context, verb: str) -> str:
    return (
        f"spec.deadlines.migrate: the {verb} step did not end in time; look at `kubectl logs job/"
        f"{names.job_name(context.s.name, context.upgrade.id, verb, context.upgrade.attempt)}` or raise the deadline"
    )
