"""What a person can still do where an upgrade cannot go on, and what must not need a person."""

import pytest
from tests.unit.domain.jobs import Stuck
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.rollouts.planes import FAILED, approve, data, health, last_id, pods, small, under_way
from tests.unit.domain.story import BAD, NAMESPACE, Story, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase

LOOPING = Behaviour(waiting="CrashLoopBackOff", restarts=9)
UNTOUCHED = FAILED | {"untouched": True}


def verbs(story: Story) -> list[str]:
    jobs = [job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)]
    return sorted("-".join(name.rsplit("-", 2)[1:]) for name in jobs if last_id(story) in name)


def dead() -> Story:
    story = installed(small("1.0.0"))
    pods(story, "1.0.0", LOOPING, "crash looping")
    return story.wait(5)


def test_a_release_whose_pods_do_not_answer_is_not_ready() -> None:
    story = dead()
    assert story.condition("Ready") == ("False", Reason.ACTIVE_NOT_SERVING)
    assert story.condition("Healthy") == ("False", Reason.ACTIVE_NOT_SERVING)
    assert "0 of 2 pods ready" in story.status.message
    story.at_rest()

    story.machinery.behaviours.clear()
    story.wait(5)
    assert story.condition("Ready") == ("True", Reason.STABLE)


def test_a_short_outage_does_not_refuse_an_upgrade() -> None:
    story = dead()
    story.apply(small("1.1.0"))
    story.until(Phase.PREFLIGHT).wait(20)
    story.machinery.behaviours.clear()
    story.settled()

    assert story.status.active_version == "1.1.0"


@pytest.mark.parametrize("named", ["", "1.0.9"])
def test_a_hotfix_is_meant_for_one_version(named: str) -> None:
    story = dead()
    story.apply(small("1.0.1", hotfix=named))
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.ACTIVE_NOT_SERVING)
    assert 'set spec.hotfix: "1.0.1"' in last.message
    assert ("it names 1.0.9" in last.message) == bool(named)

    story.change(hotfix="1.0.1")
    story.settled()
    assert story.serving() == {"1.0.1"}
    assert story.deployments()["api/1.0.0"] == 0


def test_a_hotfix_that_fails_is_not_tried_without_end() -> None:
    story = dead()
    story.health["1.0.1"] = BAD
    story.apply(small("1.0.1", hotfix="1.0.1"))
    story.settled().long_after(minutes=10)

    assert story.status.sequence == 2


def test_a_version_that_stays_gives_way_to_the_next() -> None:
    story = under_way(Phase.SOAKING)
    pods(story, "1.0.0", Behaviour(waiting="ImagePullBackOff"), "their image is gone")
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(Phase.ROLLING_BACK).wait(30)
    assert f"{names.ANNOTATION_APPROVE}={story.upgrade.id}/stay" in story.status.message
    approve(story, story.upgrade.id, "stay")
    story.settled()

    assert story.serving() == {"1.1.0"}
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 2, "worker/1.0.0": 0, "worker/1.1.0": 1}
    assert story.status.traffic.current is Colour.GREEN
    assert story.status.pending_contract is not None, "an unhealthy version's contract is for a person"
    story.at_rest()
    story.apply(small("1.1.1"))
    story.settled()
    assert story.serving() == {"1.1.1"}


def test_a_wait_that_comes_to_need_a_person_is_told_though_its_reason_stays() -> None:
    story = under_way(Phase.SOAKING)
    pods(story, "1.0.0", Behaviour(waiting="ImagePullBackOff"), "their image is gone")
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(Phase.ROLLING_BACK).wait(5)

    def told() -> list[str]:
        events = story.kube.list("Event", NAMESPACE)
        return [event["type"] for event in events if event["reason"] == Reason.TARGET_NOT_READY]

    assert told() == []
    story.wait(60)
    assert told() == ["Warning"]


def test_nothing_stays_while_the_target_may_still_come() -> None:
    story = under_way(Phase.SOAKING)
    approve(story, story.upgrade.id, "stay")
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    story.settled()

    assert story.serving() == {"1.0.0"}


@pytest.mark.parametrize(
    ("answers", "backed_out"),
    [
        ([Stuck("ErrImagePull")], False),
        ([Stuck("CreateContainerConfigError")], False),
        ([UNTOUCHED], False),
        ([UNTOUCHED | {"exitCode": 2}, FAILED], True),
        ([FAILED], True),
    ],
)
def test_only_what_had_a_connection_is_backed_out(answers: list[object], backed_out: bool) -> None:
    story = installed(data("1.0.0"))
    story.machinery.jobs["expand"] = answers  # type: ignore[assignment]
    story.apply(data("1.1.0"))
    story.settled()

    assert ("backout-1" in verbs(story)) == backed_out
    assert story.status.upgrade is None
    assert story.serving() == {"1.0.0"}
    if isinstance(answers[0], Stuck):
        assert verbs(story) == [], "a Job that never started must not begin later"


def test_a_secret_that_is_not_there_is_named() -> None:
    story = installed(data("1.0.0"))
    story.machinery.jobs["expand"] = [Stuck("CreateContainerConfigError")]
    story.apply(data("1.1.0"))
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert last.reason == Reason.JOB_CANNOT_START
    assert "spec.migrations.databaseSecretRef" in last.message
    assert "create Secret mc-database with key url" in last.message


def test_a_job_that_ended_in_time_is_not_failed_by_the_pause_after_it() -> None:
    story = under_way(Phase.MIGRATING)
    story.change(paused=True)
    story.until(Reason.PAUSED).long_after(minutes=120)
    story.change(paused=False)
    story.settled()

    assert story.status.active_version == "1.1.0"


def test_a_pause_gives_the_time_back_that_it_took() -> None:
    story = under_way(Phase.VERIFYING)
    deadline = story.upgrade.deadline
    assert deadline is not None
    story.change(paused=True)
    story.until(Reason.PAUSED)
    begun_at = story.now
    story.wait(30)
    story.change(paused=False)
    story.until(Reason.RESUMED)

    assert story.upgrade.deadline is not None
    assert abs((story.upgrade.deadline - deadline) - (story.now - begun_at)).total_seconds() < 2


def test_a_settled_dispute_is_answered_twice_more_and_no_more() -> None:
    story = installed(small("1.0.0"))

    def taken() -> bool:
        change = {"spec": {"selector": {names.LABEL_REVISION: None, "app": "mc"}}}
        story.kube.edit("Service", NAMESPACE, "mc-api", change)
        story.wait(3)
        return story.serving() == set()

    assert [taken() for _ in range(3)] == [False, False, True]
    story.annotate(names.ANNOTATION_RETRY, f"{last_id(story)}/traffic/2")
    story.wait(3)
    assert story.serving() == {"1.0.0"}
    assert [taken() for _ in range(2)] == [False, True]
    assert f"{names.ANNOTATION_RETRY}={last_id(story)}/traffic/4" in story.status.message


def test_an_unreadable_spec_deletes_nothing() -> None:
    story = installed(small("1.0.0", deletionPolicy="Delete"))
    story.change(version="latest")
    story.delete()
    story.turn()
    story.turn()

    assert story.gone
    assert story.serving() == {"1.0.0"}


def test_a_revision_that_comes_again_has_the_colour_that_is_published() -> None:
    story = installed(small("1.0.0"))
    first = story.status.active_revision
    for version in ("1.1.0", "1.2.0"):
        story.apply(small(version))
        story.settled()
    story.change(rollbackTo=first)
    story.settled()

    [current] = [
        pod["metadata"]["labels"][names.LABEL_COLOUR] for pod in story.kube.list("Pod", NAMESPACE)[:1]
    ]
    published = story.kube.get("ConfigMap", NAMESPACE, "mc-traffic")
    assert published is not None
    assert current == published["data"]["current"] == story.status.traffic.current == Colour.GREEN


def test_a_release_that_is_installed_again_keeps_the_colour_that_serves() -> None:
    story = installed(small("1.0.0"))
    story.apply(small("1.1.0"))
    story.settled()
    assert story.status.traffic.current is Colour.GREEN
    kept = story.release
    story.delete()
    story.turn()
    metadata = {key: kept["metadata"][key] for key in ("name", "namespace")} | {"uid": "7d2f"}
    story.kube.put(names.KIND, NAMESPACE, {"kind": names.KIND, "metadata": metadata, "spec": kept["spec"]})
    while story.status.phase is not Phase.STABLE:
        story.turn()
        assert story.serving() == {"1.1.0"}, "users notice nothing"

    assert story.status.traffic.current is Colour.GREEN
