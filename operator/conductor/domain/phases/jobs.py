"""Migration Jobs: starting one, waiting for it, why it cannot start, and what its answer means."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Migrations
from conductor.api.status import MigrationsStatus
from conductor.domain.effects import CreateObject
from conductor.domain.logins import LoginPair
from conductor.domain.manifests import Run, migration_digest, migration_job
from conductor.domain.phases import sightings
from conductor.domain.signals import IMAGE_PATIENCE, IMAGE_REASONS
from conductor.domain.situation import Acting, Waiting
from conductor.domain.snapshot import JobState, Snapshot

ATTEMPTS = 3
#: A Job's controller makes its pod within a second, and is refused as fast.
_POD_PATIENCE = timedelta(seconds=10)
#: The runner ends with 1 when another attempt would end the same way, with 2 when it may not.
FAILED_FOR_GOOD = 1
WORTH_RETRYING = 2
#: Beyond the grace that the pod was given: kubelet takes a moment to report that it has gone.
_LOST_AFTER = timedelta(seconds=15)
_STATES = frozenset({"none", "expanded", "migrated", "contracted", "backed-out", "not-applicable"})
_WELL_ENDED: Mapping[str, frozenset[str]] = {
    "inspect": _STATES,
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
    exit_code: int | None = None
    #: It ended, or is taken for ended, without a word of its own.
    cut_off: bool = False


def job_of(s: Snapshot, run: Run, verb: str) -> JobState | None:
    """The Job of this verb's present attempt."""
    return s.jobs.get(names.job_name(s.name, run.id, verb, run.attempt))


def attend(
    s: Snapshot,
    run: Run,
    migrations: Migrations,
    verb: str,
    *,
    until: datetime | None = None,
    changes: dict[str, Any] | None = None,
    logins: LoginPair | None = None,
    accept_loss: bool = False,
) -> Acting | Waiting | None:
    """Start the Job or wait for it; None once it ended. A Job that cannot start is a stalled wait."""
    job = job_of(s, run, verb)
    if job is None:
        manifest = migration_job(
            s, run, migrations, verb, until=until, logins=logins, accept_loss=accept_loss
        )
        name = manifest["metadata"]["name"]
        return Acting(CreateObject(manifest), Reason.RUNNING_JOB, f"starting Job {name}", changes or {})
    if job.ended or _lost(s, job):
        return None
    if job.digest and job.digest != migration_digest(migrations, run, verb, logins):
        return Waiting(
            Reason.JOB_CANNOT_START,
            f"Job {job.name} is not the one that this upgrade makes for its {verb} step, it has another image, Secret, "
            f"logins or arguments; delete it: kubectl -n {s.namespace} delete job {job.name}",
            until,
            stalled=True,
        )
    if (stuck := _cannot_start(s, job, migrations)) is not None:
        return Waiting(*stuck, until, stalled=True)
    if podless(job, s.now):
        return _without_pod(s, job, until)
    tail = f": {job.message}" if job.message else ""
    if job.leaving_at is not None:
        given_up = job.leaving_at + _LOST_AFTER
        until = given_up if until is None else min(until, given_up)
        tail = ": its pod was told to end; another attempt follows"
    return Waiting(Reason.RUNNING_JOB, f"Job {job.name} is running{tail}", until)


def _lost(s: Snapshot, job: JobState) -> bool:
    """Whether its pod should have gone and has not: its node does not answer. The next attempt fences it off."""
    return not job.ended and job.leaving_at is not None and s.now >= job.leaving_at + _LOST_AFTER


def podless(job: JobState, now: datetime) -> bool:
    """Whether the Job has been there for longer than its controller takes to make its pod, and has none."""
    return job.podless and job.created_at is not None and now - job.created_at >= _POD_PATIENCE


def _without_pod(s: Snapshot, job: JobState, until: datetime | None) -> Waiting:
    """A quota may be freed, a policy corrected: waited for as long as the step may take, and said at once."""
    why = f": {job.message}" if job.message else f"; `kubectl describe job/{job.name}` says why"
    return Waiting(
        Reason.JOB_POD_MISSING,
        f"spec.migrations: no pod of Job {job.name} can be created in namespace {s.namespace}{why}; free that quota, "
        "or correct the admission policy or the limits that it names, and it goes on by itself",
        until,
        # With nothing that ends the wait, a person is called.
        stalled=until is None,
    )


def _cannot_start(s: Snapshot, job: JobState, migrations: Migrations) -> tuple[Reason, str] | None:
    """What keeps the Job's container from running and will not mend itself, or None."""
    patient = job.created_at is None or s.age(job.created_at) < IMAGE_PATIENCE
    if job.started or patient or not job.waiting_reason:
        return None
    if job.waiting_reason in IMAGE_REASONS:
        return (
            Reason.IMAGE_UNAVAILABLE,
            f"spec.migrations.image: {migrations.image} cannot be pulled ({job.message}); push the image or correct "
            "its name",
        )
    if job.waiting_reason == "CreateContainerConfigError":
        secret = migrations.database_secret_ref
        return (
            Reason.JOB_CANNOT_START,
            f"spec.migrations.databaseSecretRef: Job {job.name} cannot start ({job.message}); create Secret "
            f"{secret.name} with key {secret.key}, or correct the reference",
        )
    return (
        Reason.JOB_CANNOT_START,
        f"spec.migrations: Job {job.name} cannot start ({job.message}); look at `kubectl describe job/{job.name}` "
        "and correct the image",
    )


def read(job: JobState | None, verb: str) -> JobOutcome:
    """A Job's completion counts only with an answer that says so: exit code and termination message."""
    answer = dict(job.answer or {}) if job else {}
    known = {field.alias or name for name, field in MigrationsStatus.model_fields.items()}
    known -= {"progress", *sightings.FIELDS}
    try:
        status = MigrationsStatus.model_validate(
            {key: answer[key] for key in answer if key in known and answer[key] is not None}
            | {"verb": verb, **sightings.of_servers(answer)}
        )
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        status = MigrationsStatus(
            verb=verb, message=f"its answer has a wrong {wrong['loc'][0]}: {wrong['msg']}"
        )
    well = job is not None and job.succeeded and status.state in _WELL_ENDED[verb]
    mend = f"; {answer['mend']}" if answer.get("mend") else ""
    left = "its pod was told to end and has not" if job and not job.ended else "it left no answer"
    said = status.message or (job.message if job else "") or left
    named = f"Job {job.name if job else verb}: {said}{mend}"
    cut_off = job is not None and not job.succeeded and job.answer is None
    return JobOutcome(well, status, named, job.exit_code if job else None, cut_off)


def worth_another(outcome: JobOutcome, run: Run) -> bool:
    """Whether another attempt may end otherwise, and there were not enough of them.

    The runner says so, or it was ended before it could say anything: by a node, the kernel or a person.
    """
    may = outcome.exit_code == WORTH_RETRYING or (outcome.cut_off and outcome.exit_code != FAILED_FOR_GOOD)
    return may and run.attempt < ATTEMPTS


def never_connected(s: Snapshot, run: Run, verb: str) -> bool:
    """Whether no attempt at this verb can have changed anything: each cannot start, or ended without a connection.

    One that is just starting may yet, and one that is gone may have.
    """
    jobs = _attempts(s, run, verb)
    return (
        bool(jobs)
        and sorted(jobs) == list(range(1, len(jobs) + 1))
        and all(
            (job.answer or {}).get("untouched") is True
            if job.ended
            else not job.started and (bool(job.waiting_reason) or podless(job, s.now))
            for job in jobs.values()
        )
    )


def unfinished(s: Snapshot, run: Run, verb: str) -> tuple[tuple[str, str], ...]:
    """Jobs of this verb that may still begin to work."""
    return tuple(("Job", job.name) for _, job in sorted(_attempts(s, run, verb).items()) if not job.ended)


def _attempts(s: Snapshot, run: Run, verb: str) -> dict[int, JobState]:
    """Jobs of this verb that still are there, by the number of their attempt."""
    prefix = names.job_name(s.name, run.id, verb, 0).removesuffix("0")
    return {int(name.removeprefix(prefix)): job for name, job in s.jobs.items() if name.startswith(prefix)}
