"""The expand step and who serves on its schema; Jobs of which no pod can be created."""

import pytest
from tests.unit.domain.jobs import Podless
from tests.unit.domain.story import BAD, BROKEN, SILENT, Health, installed
from tests.unit.domain.test_migration_stories import plane, upgrading, verbs

from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase


@pytest.mark.parametrize("phase", [Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING])
def test_an_active_colour_that_the_expand_step_hurts_gets_its_schema_back(phase: Phase) -> None:
    story = upgrading(phase)
    if phase is Phase.EXPANDING:
        story.until(lambda: verbs(story) == ["expand-1"])
    story.health["1.0.0"] = BAD
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.ACTIVE_UNHEALTHY)
    assert "1.0.0, which serves, is not healthy since the expand step (5.00% of 1000" in last.message
    assert verbs(story)[-1] == "backout-1"
    assert story.serving() == {"1.0.0"}
    assert story.deployments() == {"api/1.0.0": 3}, "nobody ever met the candidate"


@pytest.mark.parametrize("health", [SILENT, BROKEN, BAD], ids=["no data", "no answer", "bad before"])
def test_what_says_nothing_against_the_expand_step_holds_nothing_up(health: Health) -> None:
    story = installed(plane("1.0.0"))
    story.health["1.0.0"] = health
    story.apply(plane("1.1.0"))
    story.settled()

    assert story.status.active_version == "1.1.0"


def test_no_data_after_the_expand_step_is_no_reason_to_take_it_back() -> None:
    story = upgrading(Phase.BRINGING_UP)
    story.health["1.0.0"] = SILENT
    story.settled()
    assert story.status.active_version == "1.1.0"


QUOTA = Podless(
    'Error creating: pods "mc-x" is forbidden: exceeded quota: team, requested: pods=1, used: pods=3'
)


def test_a_job_whose_pod_is_not_created_is_said_early_and_goes_on_when_it_can() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [QUOTA]
    story.apply(plane("1.1.0"))
    story.until(Phase.EXPANDING).wait(13)

    assert story.status.reason == Reason.JOB_POD_MISSING
    assert "exceeded quota: team" in story.status.message
    assert "free that quota" in story.status.message
    assert story.condition("Reconciling")[0] == "True", "it may yet go on by itself"
    story.wait(60)
    assert story.status.phase is Phase.EXPANDING

    del story.machinery.jobs["expand"]
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_an_upgrade_whose_expand_job_never_had_a_pod_has_nothing_to_take_back() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [QUOTA]
    story.apply(plane("1.1.0"))
    story.until(Reason.JOB_POD_MISSING)
    story.apply(plane("1.0.0"))
    story.settled()

    assert verbs(story) == [], "no backout runs, and the Job that never began is gone"
    assert story.condition("Ready")[0] == "True"


def test_a_contract_job_whose_pod_is_not_created_calls_a_person() -> None:
    story = upgrading(Phase.CLOSING)
    story.machinery.jobs["contract"] = [QUOTA]
    story.until(Phase.CONTRACTING).wait(15)

    assert story.condition("Stalled") == ("True", Reason.JOB_POD_MISSING)
    del story.machinery.jobs["contract"]
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert verbs(story)[-1] == "contract-1"
