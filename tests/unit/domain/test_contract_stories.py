"""Contract steps that are left for later: what closes the way back, which image runs, and what starts nothing."""

import pytest
from tests.unit.domain.plane import migrations
from tests.unit.domain.rollouts.planes import FAILED, NOTHING, approve, data, last_id, pending, small
from tests.unit.domain.story import NAMESPACE, Story

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase


def contract_jobs(story: Story) -> list[Object]:
    return [job for job in story.kube.list("Job", NAMESPACE) if "-contract-" in job["metadata"]["name"]]


def container(job: Object) -> Object:
    found: Object = job["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_release_with_a_pending_contract_is_ready_and_at_rest() -> None:
    story = pending()

    assert story.condition("Ready") == ("True", Reason.CONTRACT_PENDING)
    assert story.condition("MigrationsApplied") == ("True", Reason.CONTRACT_PENDING)
    assert f"{names.ANNOTATION_APPROVE}={last_id(story)}/contract" in story.status.message
    story.at_rest()


def test_the_way_back_is_closed_in_the_release_before_the_job_exists() -> None:
    story = pending()
    former = story.status.standby_revision
    approve(story, last_id(story), "contract")
    story.until(Phase.CONTRACTING)

    assert contract_jobs(story) == []
    assert story.status.schema_floor == "1.1.0"
    assert (story.condition("Ready")[0], story.condition("Reconciling")[0]) == ("False", "True")
    story.change(rollbackTo=former)
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.CONTRACT_COMMITTED)
    assert story.serving() == {"1.1.0"}


def test_a_standing_approval_runs_the_step_once() -> None:
    story = pending()
    approve(story, last_id(story), "contract")
    story.settled()

    assert len(contract_jobs(story)) == 1
    assert story.status.pending_contract is None
    assert story.condition("Ready") == ("True", Reason.STABLE)
    story.at_rest()


def test_the_approval_of_another_step_or_upgrade_starts_nothing() -> None:
    story = pending()
    for given in (f"{last_id(story)}/switch", "u00000000/contract"):
        story.annotate(names.ANNOTATION_APPROVE, given)
        story.settled()
    assert contract_jobs(story) == []


def test_a_pause_holds_the_intent_and_not_what_was_begun() -> None:
    story = pending()
    story.change(paused=True)
    approve(story, last_id(story), "contract")
    story.settled()
    assert contract_jobs(story) == []

    story.change(paused=False)
    story.until(Phase.CONTRACTING)
    story.change(paused=True)
    story.settled()
    assert story.status.pending_contract is None


def test_nothing_is_cut_off_that_the_spec_asks_for() -> None:
    story = pending()
    story.machinery.jobs["expand"] = [NOTHING]
    story.change(rollbackTo=story.status.standby_revision)
    approve(story, last_id(story), "contract")
    story.settled()

    assert story.serving() == {"1.0.0"}
    assert contract_jobs(story) == []
    told = [
        event["note"] for event in story.kube.list("Event", NAMESPACE) if event["reason"] == "CommandRefused"
    ]
    assert told == [
        "approval of the contract step of 1.1.0 is refused: 1.0.0 serves and needs what that step removes; upgrade to "
        "1.1.0 or later first"
    ]
    story.at_rest()


def test_what_was_gone_back_from_contracts_with_the_upgrade_that_brings_it_again() -> None:
    story = pending()
    story.machinery.jobs["expand"] = [NOTHING]
    story.change(rollbackTo=story.status.standby_revision)
    story.settled()
    story.machinery.jobs.clear()
    story.apply(data("1.1.0"))
    story.settled()

    assert story.status.pending_contract is None
    [job] = contract_jobs(story)
    assert job["metadata"]["labels"][names.LABEL_UPGRADE] == last_id(story)


def test_the_image_is_that_of_its_version_and_the_secret_that_of_today() -> None:
    story = pending("NextUpgrade")
    wanted = migrations("1.2.0", "NextUpgrade") | {"databaseSecretRef": {"name": "mc-rotated", "key": "url"}}
    story.apply(small("1.2.0", migrations=wanted))
    story.until(Phase.BRINGING_UP)

    [job] = contract_jobs(story)
    assert container(job)["image"] == "localhost/mc-migrations:1.1.0"
    assert container(job)["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "mc-rotated"
    arguments = container(job)["args"]
    assert arguments[arguments.index("--from") + 1 :: 2][:2] == ["1.0.0", "1.1.0"]


def test_a_corrected_image_of_what_serves_is_used_by_the_retry() -> None:
    story = pending()
    story.machinery.jobs["contract"] = [FAILED, {"state": "contracted"}]
    upgrade = last_id(story)
    approve(story, upgrade, "contract")
    story.until(Reason.CONTRACT_FAILED).wait(1)
    assert story.condition("Stalled") == ("True", Reason.CONTRACT_FAILED)
    story.at_rest()

    story.change(migrations=migrations("1.1.0-fixed", "Manual"))
    story.annotate(names.ANNOTATION_RETRY, f"{upgrade}/contract/1")
    story.settled()
    assert [container(job)["image"] for job in contract_jobs(story)] == [
        "localhost/mc-migrations:1.1.0",
        "localhost/mc-migrations:1.1.0-fixed",
    ]


@pytest.mark.parametrize("exit_code", [1, 2])
def test_only_what_may_end_otherwise_is_tried_again_by_itself(exit_code: int) -> None:
    story = pending()
    story.machinery.jobs["contract"] = [FAILED | {"exitCode": exit_code}]
    approve(story, last_id(story), "contract")
    story.settled()

    assert story.status.reason == Reason.CONTRACT_FAILED
    assert len(contract_jobs(story)) == (1 if exit_code == 1 else 3)


def test_the_answer_that_decides_is_tried_again_and_refused_without() -> None:
    story = pending()
    story.machinery.jobs["inspect"] = [FAILED | {"exitCode": 2}]
    story.apply(data("1.2.0", "Manual"))
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.INSPECT_FAILED)
    assert "whether 1.2.0 brings migrations" in last.message
    assert (
        len([job for job in story.kube.list("Job", NAMESPACE) if "-inspect-" in job["metadata"]["name"]]) == 3
    )
    assert story.serving() == {"1.1.0"}


def test_an_upgrade_that_waits_for_the_step_can_be_given_up() -> None:
    story = pending()
    story.apply(data("1.2.0", "Manual"))
    story.until(Phase.PREFLIGHT).until(Reason.CONTRACT_PENDING).wait(1)
    assert story.condition("Stalled") == ("True", Reason.CONTRACT_PENDING)
    assert story.status.message.startswith("spec.version: 1.2.0 brings migrations")
    story.apply(data("1.1.0", "Manual"))
    story.settled()

    assert story.condition("Ready") == ("True", Reason.CONTRACT_PENDING)
    assert contract_jobs(story) == []
