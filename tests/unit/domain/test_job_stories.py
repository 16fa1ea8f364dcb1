"""Migration Jobs that are cut off, lost with their node, taken by somebody, or left: what becomes of their step."""

from datetime import timedelta

import pytest
from tests.unit.domain.machinery import STATES
from tests.unit.domain.story import NAMESPACE, installed
from tests.unit.domain.test_migration_stories import plane, upgrading, verbs

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

CUT_OFF = {"silent": True}


@pytest.mark.parametrize("verb", ["expand", "migrate", "contract"])
def test_a_step_whose_pod_was_ended_before_it_could_say_anything_is_tried_again(verb: str) -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs[verb] = [CUT_OFF, {"state": STATES[verb]}]
    story.apply(plane("1.1.0"))
    story.settled()

    assert [name for name in verbs(story) if name.startswith(verb)] == [f"{verb}-1", f"{verb}-2"]
    assert story.status.active_version == "1.1.0"


def test_a_step_that_is_cut_off_again_and_again_is_given_up() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [CUT_OFF]
    story.apply(plane("1.1.0"))
    story.settled()

    assert verbs(story) == ["expand-1", "expand-2", "expand-3", "backout-1"]
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.EXPAND_FAILED
    assert "it left no answer" in story.status.last_upgrade.message


def test_a_job_on_a_node_that_does_not_answer_is_not_waited_for() -> None:
    story = installed(plane("1.0.0"))
    story.machinery.jobs["expand"] = [None, {"state": "expanded"}]
    story.apply(plane("1.1.0"))
    story.until(Reason.RUNNING_JOB).turn()
    [pod] = [
        pod["metadata"]["name"]
        for pod in story.kube.list("Pod", NAMESPACE)
        if f"{story.upgrade.id}-expand-1" in pod["metadata"]["name"]
    ]
    gone_by = story.now + timedelta(seconds=30)
    story.kube.edit("Pod", NAMESPACE, pod, {"metadata": {"deletionTimestamp": gone_by.isoformat()}})
    story.turn()
    assert "its pod was told to end" in story.status.message
    assert "expand-2" not in verbs(story)
    story.settled()

    assert verbs(story)[:2] == ["expand-1", "expand-2"]
    assert story.status.active_version == "1.1.0"


def test_a_job_of_somebody_else_under_our_name_is_not_taken_for_ours() -> None:
    story = upgrading(Phase.EXPANDING)
    story.until(lambda: bool(verbs(story)))
    [name] = [
        job["metadata"]["name"]
        for job in story.kube.list("Job", NAMESPACE)
        if story.upgrade.id in job["metadata"]["name"]
    ]
    story.machinery.jobs["expand"] = [None]
    story.kube.edit(
        "Job", NAMESPACE, name, {"metadata": {"annotations": {names.ANNOTATION_DIGEST: "another"}}}
    )
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.JOB_CANNOT_START
    assert f"delete job {name}" in story.status.last_upgrade.message


def test_a_job_ends_by_itself_where_no_operator_keeps_its_deadline() -> None:
    story = upgrading(Phase.EXPANDING)
    story.until(lambda: bool(verbs(story)))
    [job] = [job for job in story.kube.list("Job", NAMESPACE) if story.upgrade.id in job["metadata"]["name"]]

    assert 3600 <= job["spec"]["activeDeadlineSeconds"] <= 3600 + 600


def test_jobs_stay_to_be_looked_at_until_another_upgrade_has_ended() -> None:
    story = upgrading(Phase.STABLE)
    assert verbs(story) == ["expand-1", "migrate-1", "contract-1"]
    former = {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)}
    story.apply(plane("1.2.0"))
    story.until(Phase.SOAKING)
    assert former <= {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)}
    story.settled()

    assert verbs(story) == ["expand-1", "migrate-1", "contract-1"]
    assert not former & {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)}
    story.at_rest()
