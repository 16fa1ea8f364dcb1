"""Somebody deletes what an upgrade stands on, in each phase: users are without an answer for a moment at most.

The invariants of every pass hold all the while; each story comes to rest, or says by name what it waits for.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import api_component, migrations, spec, worker_component
from tests.unit.domain.story import NAMESPACE, Story, checkpoint, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase

OLD, NEW = "1.0.0", "1.1.0"
#: A pass, and what is created again; or, where pods have to come up, their start.
MOMENT, START = timedelta(seconds=2), timedelta(seconds=6)
BEFORE_SWITCH = (Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING, Phase.VERIFYING)
AFTER_SWITCH = (Phase.SOAKING, Phase.CLOSING, Phase.CONTRACTING)
GOING_BACK = (Phase.ROLLING_BACK, Phase.BACKING_OUT)


def plane(version: str) -> dict[str, object]:
    components = [api_component(version, replicas=2), worker_component(version)]
    return spec(version, components=components, migrations=migrations(version), soak="30s")


def story_in(phase: Phase) -> Story:
    """An upgrade from 1.0.0 to 1.1.0 that has just come to this phase."""

    def tell() -> Story:
        story = installed(plane(OLD))
        story.apply(plane(NEW))
        if phase is Phase.ROLLING_BACK:
            story.until(Phase.SOAKING).wait(1)
            story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
        if phase is Phase.BACKING_OUT:
            story.until(Phase.VERIFYING)
            story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
        return story.until(phase)

    return checkpoint(f"deletions {phase}", tell)


def delete(story: Story, kind: str, version: str = "", name: str = "") -> None:
    """Somebody deletes an object by name, or all of a kind that belong to a version."""
    found = [item["metadata"] for item in story.kube.list(kind, NAMESPACE)]
    doomed = [
        metadata["name"]
        for metadata in found
        if (name and metadata["name"] == name)
        or (
            version and story.version((metadata.get("labels") or {}).get(names.LABEL_REVISION, "")) == version
        )
    ]
    assert doomed, f"there is no {kind} of {version or name}"
    for gone in doomed:
        story.kube.drop(kind, NAMESPACE, gone)


def dark(story: Story, minutes: int = 20) -> timedelta:
    """Go on until nothing is under way; how long no pod was behind the Service in all."""
    without = timedelta(0)
    end = story.now + timedelta(minutes=minutes)
    quiet = 0
    while quiet < 3 and story.now < end:
        began = story.now
        decided = story.turn()
        if not story.serving():
            without += story.now - began
        assert decided is not None
        quiet = quiet + 1 if not decided.again and decided.status.upgrade is None else 0
    return without


@pytest.mark.parametrize("phase", [*BEFORE_SWITCH, *AFTER_SWITCH, *GOING_BACK])
def test_a_service_is_made_again_at_once(phase: Phase) -> None:
    story = story_in(phase)
    delete(story, "Service", name="mc-api")
    assert dark(story) <= MOMENT
    assert story.serving() == {OLD if phase in GOING_BACK else NEW}


@pytest.mark.parametrize("phase", [*BEFORE_SWITCH, *GOING_BACK])
def test_what_serves_or_is_gone_back_to_is_made_again(phase: Phase) -> None:
    story = story_in(phase)
    delete(story, "Deployment", OLD)
    assert dark(story) <= START
    back = phase in GOING_BACK
    assert story.serving() == {OLD if back else NEW}
    assert story.deployments()[f"api/{OLD}"] == (2 if back else 0)


def test_what_is_gone_back_to_and_scaled_away_is_scaled_back() -> None:
    story = story_in(Phase.ROLLING_BACK)
    story.until(lambda: story.serving() == {OLD})
    for item in story.kube.list("Deployment", NAMESPACE):
        if "-api-blue-" in item["metadata"]["name"]:
            story.kube.edit("Deployment", NAMESPACE, item["metadata"]["name"], {"spec": {"replicas": 0}})
    assert dark(story) <= START
    assert story.serving() == {OLD}


def test_workers_that_were_deleted_while_going_back_start_only_after_the_others_ended() -> None:
    story = story_in(Phase.ROLLING_BACK)
    delete(story, "Deployment", OLD)
    # The invariants see to it that no two versions of an exclusive worker run at once.
    dark(story)
    assert story.deployments()[f"worker/{OLD}"] == 1


@pytest.mark.parametrize("phase", [Phase.BRINGING_UP, Phase.MIGRATING, Phase.VERIFYING])
def test_a_candidate_without_users_is_brought_up_again(phase: Phase) -> None:
    story = story_in(phase)
    if phase is Phase.BRINGING_UP:
        story.turn()
    delete(story, "Deployment", NEW)
    assert dark(story) == timedelta(0)
    assert story.serving() == {NEW}
    assert story.phases.count(Phase.BRINGING_UP) == (1 if phase is Phase.BRINGING_UP else 2)


@pytest.mark.parametrize("phase", [Phase.MIGRATING, Phase.VERIFYING])
def test_a_preview_service_that_is_gone_does_not_hold_the_upgrade_up(phase: Phase) -> None:
    story = story_in(phase)
    delete(story, "Service", name="mc-api-preview")
    assert dark(story) == timedelta(0)
    assert story.serving() == {NEW}


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING])
def test_a_candidate_with_users_that_is_gone_is_gone_back_from(phase: Phase) -> None:
    story = story_in(phase)
    delete(story, "Deployment", NEW)
    assert dark(story) <= START
    assert story.serving() == {OLD}
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.READINESS_LOST


def test_after_the_contract_has_begun_the_candidate_is_made_again() -> None:
    story = story_in(Phase.CONTRACTING)
    story.machinery.jobs["contract"] = [None]
    delete(story, "Deployment", NEW)
    assert dark(story, minutes=5) <= START
    assert story.serving() == {NEW}
    assert story.status.phase is Phase.CONTRACTING


@pytest.mark.parametrize("phase", [*BEFORE_SWITCH, *AFTER_SWITCH, *GOING_BACK])
def test_jobs_and_the_candidates_record_are_made_again(phase: Phase) -> None:
    story = story_in(phase)
    for job in story.kube.list("Job", NAMESPACE):
        story.kube.drop("Job", NAMESPACE, job["metadata"]["name"])
    if phase not in GOING_BACK:
        delete(story, "ControllerRevision", NEW)
    assert dark(story) == timedelta(0)
    assert story.serving() == {OLD if phase in GOING_BACK else NEW}


@pytest.mark.parametrize("phase", BEFORE_SWITCH)
def test_without_the_record_of_the_former_version_nothing_is_switched(phase: Phase) -> None:
    story = story_in(phase)
    former = story.upgrade.from_revision
    delete(story, "ControllerRevision", OLD)
    assert dark(story) == timedelta(0)
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.UNKNOWN_REVISION)
    jobs = {item["metadata"]["name"].removesuffix("-1") for item in story.kube.list("Job", NAMESPACE)}
    assert (f"mc-{last.id}-expand" in jobs) == (f"mc-{last.id}-backout" in jobs)
    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)
    assert names.revision_name("mc", former) in story.status.message

    story.apply(plane(OLD))
    dark(story)
    assert story.condition("Ready") == ("True", Reason.STABLE)
    assert story.serving() == {OLD}


@pytest.mark.parametrize("phase", [Phase.SOAKING, Phase.CLOSING, Phase.ROLLING_BACK])
def test_with_users_on_the_candidate_the_lost_record_is_waited_for(phase: Phase) -> None:
    story = story_in(phase)
    if phase is not Phase.ROLLING_BACK:
        story.turn()
    delete(story, "ControllerRevision", OLD)
    before = story.serving()
    assert dark(story, minutes=5) == timedelta(0)
    assert (story.status.phase, story.serving()) == (phase, before)
    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)

    story.apply(plane(OLD))
    assert dark(story) == timedelta(0)
    assert story.serving() == {OLD}


def test_a_version_that_serves_without_a_record_is_left_as_it_is() -> None:
    story = installed(plane(OLD))
    delete(story, "ControllerRevision", OLD)
    story.apply(plane(NEW))
    assert dark(story) == timedelta(0)
    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)
    assert story.effects == []

    story.apply(plane(OLD))
    dark(story)
    assert story.condition("Ready")[0] == "True"
    assert story.serving() == {OLD}
    assert story.effects[-1].name == "CreateObject"


def test_evidence_that_never_becomes_enough_is_refused_by_the_deadline() -> None:
    story = story_in(Phase.VERIFYING)
    for pod in story.kube.list("Pod", NAMESPACE):
        if "-green-" in pod["metadata"]["name"]:
            image = pod["spec"]["containers"][0]["image"]
            story.machinery.behaviours[image] = Behaviour(ready=False)
            # One pod still answers, so that only the other one is missing.
            story.machinery.stays_ready = {pod["metadata"]["name"]}
    dark(story, minutes=40)
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.VERIFY_DEADLINE)
    assert "pods ready: api 1/2" in last.message
