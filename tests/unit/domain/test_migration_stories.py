"""Upgrades with a database: expand, migrate, contract and backout, their failures and what cannot be undone."""

import pytest
from tests.unit.domain.plane import migrations, spec
from tests.unit.domain.story import BAD, NAMESPACE, Story, checkpoint, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase

FAILED = {"state": "failed", "message": "column owner does not exist", "mend": "add the column first"}


def plane(version: str, contract: str = "AfterSoak", **more: object) -> Object:
    return spec(version, migrations=migrations(version, contract), **more)


def upgrading(to: Phase, contract: str = "AfterSoak") -> Story:
    def tell() -> Story:
        story = installed(plane("1.0.0"))
        story.apply(plane("1.1.0", contract))
        return story.settled() if to is Phase.STABLE else story.until(to)

    return checkpoint(f"migration {to} {contract}", tell)


def verbs(story: Story) -> list[str]:
    """Verbs of the present or last upgrade's Jobs, in the order of their attempts."""
    jobs = story.kube.list("Job", NAMESPACE)
    jobs.sort(key=lambda job: int(job["metadata"]["resourceVersion"]))
    upgrade = story.status.upgrade or story.status.last_upgrade
    assert upgrade is not None
    return [
        "-".join(job["metadata"]["name"].rsplit("-", 2)[1:])
        for job in jobs
        if job["metadata"]["labels"][names.LABEL_UPGRADE] == upgrade.id
    ]


def test_a_migration_goes_in_its_three_steps_around_the_switch() -> None:
    story = upgrading(Phase.STABLE)

    assert [phase for phase in story.phases if phase is not Phase.STABLE] == [
        Phase.PREFLIGHT,
        Phase.EXPANDING,
        Phase.BRINGING_UP,
        Phase.MIGRATING,
        Phase.VERIFYING,
        Phase.SWITCHING,
        Phase.SOAKING,
        Phase.CLOSING,
        Phase.CONTRACTING,
    ]
    assert verbs(story) == ["expand-1", "migrate-1", "contract-1"]
    assert story.condition("MigrationsApplied")[0] == "True"
    story.at_rest()


def test_a_job_is_told_what_it_works_for_and_reads_its_secret_itself() -> None:
    story = upgrading(Phase.BRINGING_UP)
    [job] = [
        item for item in story.kube.list("Job", NAMESPACE) if story.upgrade.id in item["metadata"]["name"]
    ]
    [container] = job["spec"]["template"]["spec"]["containers"]

    assert container["args"] == [
        "expand",
        "--release",
        "mc",
        "--namespace",
        "prod",
        "--upgrade",
        story.upgrade.id,
        "--attempt",
        "1",
        "--from",
        "1.0.0",
        "--to",
        "1.1.0",
        "--login-idle",
        "mc_green",
        "--login-serving",
        "mc_blue",
    ]
    assert container["env"] == [
        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "mc-database", "key": "url"}}}
    ]
    assert job["spec"]["backoffLimit"] == 0


def test_an_expand_that_fails_is_backed_out_and_green_is_never_created() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [FAILED]
    story.apply(plane("1.1.0"))
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.EXPAND_FAILED)
    assert "column owner does not exist; add the column first" in last.message
    assert verbs(story) == ["expand-1", "backout-1"]
    assert not any(effect.subject.startswith("Deployment/") for effect in story.effects)
    story.at_rest()


@pytest.mark.parametrize(
    "answer",
    [
        {"state": "none"},
        {"state": "expanded", "rowsDone": "many"},
        {"state": 7},
        {},
    ],
)
def test_a_job_that_ends_well_with_an_answer_that_says_otherwise_does_not_count(answer: Object) -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [answer]
    story.apply(plane("1.1.0"))
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.EXPAND_FAILED
    assert story.serving() == {"1.0.0"}


def test_a_migrate_step_is_tried_three_times() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["migrate"] = [FAILED]
    story.apply(plane("1.1.0"))
    story.settled()

    assert verbs(story) == ["expand-1", "migrate-1", "migrate-2", "migrate-3", "backout-1"]
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.MIGRATE_FAILED
    assert story.deployments() == {"api/1.0.0": 3}


def test_a_migrate_step_that_fails_once_goes_on() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["migrate"] = [FAILED, {"state": "migrated", "divergence": 0}]
    story.apply(plane("1.1.0"))
    story.settled()

    assert verbs(story) == ["expand-1", "migrate-1", "migrate-2", "contract-1"]
    assert story.status.active_version == "1.1.0"


def test_shapes_that_differ_are_never_switched_to() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["migrate"] = [{"state": "migrated", "divergence": 17}]
    story.apply(plane("1.1.0"))
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert last.reason == Reason.DIVERGED
    assert "17 rows differ between the shapes of 1.0.0 and 1.1.0" in last.message
    assert verbs(story)[-1] == "backout-1"


@pytest.mark.parametrize("verb", ["expand", "migrate"])
def test_a_step_that_does_not_end_is_given_up_at_its_deadline(verb: str) -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs[verb] = [None]
    story.apply(plane("1.1.0", deadlines={"migrate": "5m"}))
    story.until(Reason.RUNNING_JOB).long_after(minutes=7).settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.MIGRATE_DEADLINE
    assert f"the {verb} step did not end in time" in story.status.last_upgrade.message


def test_nothing_to_migrate_runs_no_contract_and_no_backout() -> None:
    story = installed(plane("1.0.0"))
    nothing = [{"state": "not-applicable"}]
    story.machinery.jobs["expand"] = story.machinery.jobs["migrate"] = [*nothing]
    story.apply(plane("1.1.0"))
    story.settled()

    assert verbs(story) == ["expand-1"]
    assert story.status.reason == Reason.STABLE


def test_a_rollback_after_users_met_green_keeps_the_expanded_schema() -> None:
    story = upgrading(Phase.SOAKING)
    story.health["1.1.0"] = BAD
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert last.outcome is Outcome.ROLLED_BACK
    assert Reason.EXPANDED_KEPT in last.message
    assert verbs(story) == ["expand-1", "migrate-1"]
    assert story.serving() == {"1.0.0"}


def test_a_backout_that_fails_stalls_and_a_retry_mends_it() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs |= {"expand": [FAILED], "backout": [FAILED]}
    story.apply(plane("1.1.0"))
    story.until(Reason.BACKOUT_FAILED)
    assert story.condition("Stalled") == ("True", Reason.BACKOUT_FAILED)
    assert f"{names.ANNOTATION_RETRY}={story.upgrade.id}/backout/1" in story.status.message

    story.machinery.jobs["backout"] = [FAILED, {"state": "backed-out"}]
    story.annotate(names.ANNOTATION_RETRY, f"{story.upgrade.id}/backout/1")
    story.settled()
    assert verbs(story) == ["expand-1", "backout-1", "backout-2"]
    assert story.status.upgrade is None


def test_a_deferred_contract_is_pending_and_keeps_no_surge() -> None:
    story = upgrading(Phase.STABLE, contract="Manual")

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.CONTRACT_PENDING
    assert verbs(story) == ["expand-1", "migrate-1"]
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3}


def test_a_deferred_contract_runs_where_it_was_approved_in_time() -> None:
    story = upgrading(Phase.SOAKING, contract="Manual")
    story.annotate(names.ANNOTATION_APPROVE, f"{story.upgrade.id}/contract")
    story.settled()

    assert verbs(story)[-1] == "contract-1"


def test_the_window_is_closed_in_the_release_before_the_contract_step_runs() -> None:
    story = upgrading(Phase.CLOSING)
    story.until(Phase.CONTRACTING)

    assert verbs(story) == ["expand-1", "migrate-1"], "the intent stands before the Job does"
    assert story.condition("RollbackWindowOpen") == ("False", Phase.CONTRACTING)


@pytest.mark.parametrize("annotation", [names.ANNOTATION_ROLLBACK, names.ANNOTATION_ABORT])
def test_after_the_contract_intent_no_command_goes_back(annotation: str) -> None:
    story = upgrading(Phase.CLOSING).until(Phase.CONTRACTING)
    story.annotate(annotation, story.upgrade.id)
    story.settled()

    assert story.serving() == {"1.1.0"}
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.SUCCEEDED
    answers = [
        event for event in story.kube.list("Event", NAMESPACE) if event["reason"] == Reason.CONTRACT_COMMITTED
    ]
    assert len(answers) == 1
    assert "go forward" in answers[0]["note"]


def test_after_the_contract_an_older_version_is_refused() -> None:
    story = upgrading(Phase.STABLE)
    story.apply(plane("1.0.0"))
    story.settled()

    assert story.status.active_version == "1.1.0"
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.CONTRACT_COMMITTED
    assert "api/1.1.0" in story.deployments()


def test_a_contract_that_fails_stalls_forward_only_and_a_retry_ends_it() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["contract"] = [FAILED, {"state": "contracted"}]
    story.apply(plane("1.1.0"))
    story.until(Reason.CONTRACT_FAILED).long_after(minutes=5)
    assert story.condition("Stalled") == ("True", Reason.CONTRACT_FAILED)
    assert story.serving() == {"1.1.0"}
    assert "column owner does not exist" in story.status.message

    story.annotate(names.ANNOTATION_RETRY, f"{story.upgrade.id}/contract/1")
    story.settled()
    assert verbs(story)[-2:] == ["contract-1", "contract-2"]
    assert story.condition("Ready")[0] == "True"


def test_a_corrected_migration_image_is_used_by_the_retry() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [FAILED]
    story.apply(plane("1.1.0"))
    story.settled()
    story.machinery.jobs.clear()
    assert story.status.last_upgrade is not None
    story.change(migrations=migrations("1.1.0-fixed"))
    story.annotate(names.ANNOTATION_RETRY, story.status.last_upgrade.id)
    story.until(Phase.BRINGING_UP)

    images = {
        job["spec"]["template"]["spec"]["containers"][0]["image"]
        for job in story.kube.list("Job", NAMESPACE)
        if story.upgrade.id in job["metadata"]["name"]
    }
    assert images == {"localhost/mc-migrations:1.1.0-fixed"}


def test_a_try_with_migrations_after_one_without_them_is_backed_out_all_the_same() -> None:
    story = installed(plane("1.0.0"))
    story.health["1.1.0"] = BAD
    story.apply(spec("1.1.0"))
    story.settled()
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.REFUSED, "and its record names no migrations"

    story.apply(plane("1.1.0"))
    story.annotate(names.ANNOTATION_RETRY, story.status.last_upgrade.id)
    story.until(Phase.BRINGING_UP)
    story.apply(spec("1.0.0"))
    story.settled()

    assert verbs(story) == ["expand-1", "backout-1"]
    story.at_rest()
