"""Images onto every node where a candidate may run: begun beside it, waited for with patience, never in the way."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.jobs import Pulling
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import Json, api_component, spec, worker_component
from tests.unit.domain.rollouts.planes import clock_of, with_nodes
from tests.unit.domain.story import NAMESPACE, Story, installed

from conductor.adapters.kube import ApiError, Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import CreateObject
from conductor.domain.phases.pre_pulling import PATIENCE
from conductor.observe.room import RoomReader

ASKED: Json = {"surge": {"prePull": {"image": "localhost/drain:dev"}}}
HANGING = Pulling(waiting="ImagePullBackOff")


def two_nodes(**more: Any) -> Story:
    return with_nodes(installed(spec("1.0.0", **ASKED, **more)), {})


def pulls(story: Story) -> list[Object]:
    """Jobs that pull images."""
    return story.kube.list("Job", NAMESPACE, f"{names.LABEL_ROLE}={names.ROLE_PRE_PULL}")


def made(story: Story) -> list[str]:
    """Names of the Jobs that were made, each as often as it was."""
    effects = [item for item in story.effects if isinstance(item, CreateObject)]
    return [item.manifest["metadata"]["name"] for item in effects if item.manifest["kind"] == "Job"]


def warnings(story: Story) -> list[str]:
    events = story.kube.list("Event", NAMESPACE)
    return [item["note"] for item in events if item["reason"] == Reason.IMAGE_NOT_EVERYWHERE]


def test_each_node_that_takes_the_pods_pulls_the_images_while_they_come_up() -> None:
    story = two_nodes()
    story.apply(spec("1.1.0", **ASKED))
    story.until(lambda: bool(pulls(story)))

    assert story.status.phase is Phase.BRINGING_UP
    [job] = pulls(story)
    assert job["metadata"]["name"] == f"mc-{story.upgrade.id}-pull-api"
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (2, 2)
    story.settled()
    assert story.status.reason == Reason.STABLE
    assert story.serving() == {"1.1.0"}
    assert len(made(story)) == 1
    assert warnings(story) == []
    assert pulls(story) == [], "nothing is left of it at rest"
    story.at_rest()


def test_its_pods_are_none_of_the_candidates() -> None:
    story = two_nodes()
    story.machinery.pulling["api"] = HANGING
    story.apply(spec("1.1.0", **ASKED))
    story.until(Reason.PRE_PULLING)
    story.until(Phase.VERIFYING)

    assert len(story.observe().pods_of(story.upgrade.to_revision)) == 3
    [pod, _] = story.kube.list("Pod", NAMESPACE, f"{names.LABEL_ROLE}={names.ROLE_PRE_PULL}")
    assert set(pod["metadata"]["labels"]) == {
        names.LABEL_RELEASE, names.LABEL_ROLE, names.LABEL_UPGRADE, "batch.kubernetes.io/job-name",
    }  # fmt: skip


def test_without_being_asked_for_nothing_is_pulled() -> None:
    story = with_nodes(installed(spec("1.0.0")), {})
    story.apply(spec("1.1.0"))
    story.settled()
    assert made(story) == []
    assert story.serving() == {"1.1.0"}


def test_verifying_waits_for_what_is_under_way_and_says_so() -> None:
    story = two_nodes()
    story.machinery.pulling["api"] = Pulling(takes=timedelta(seconds=40))
    story.apply(spec("1.1.0", **ASKED))
    story.until(lambda: story.status.phase is Phase.VERIFYING and story.status.reason == Reason.PRE_PULLING)

    assert "is done on 0 of 2 node(s)" in story.status.message
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert warnings(story) == []


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (HANGING, "is done on 0 of 2 node(s) (ImagePullBackOff: as scripted)"),
        (Pulling(fails=True), "is done on 0 of 2 node(s)"),
        (Pulling(on=("one",)), "is done on 1 of 2 node(s)"),
    ],
    ids=["hanging", "failed", "twice on one node"],
)
def test_images_that_are_not_everywhere_are_told_once_and_hold_nothing_up(how: Pulling, says: str) -> None:
    story = two_nodes()
    story.machinery.pulling["api"] = how
    story.apply(spec("1.1.0", approval={"beforeSwitch": True}, **ASKED))
    story.until(Reason.AWAITING_APPROVAL)
    waited = story.now - next(at for at, phase in story.entered if phase is Phase.VERIFYING)
    assert (waited >= PATIENCE) is (how is HANGING)
    assert waited < PATIENCE + timedelta(seconds=30)
    story.wait(30)
    story.annotate(names.ANNOTATION_APPROVE, f"{story.upgrade.id}/switch")
    story.settled()

    [said] = warnings(story)
    assert says in said
    assert "The upgrade goes on" in said
    assert story.serving() == {"1.1.0"}
    assert pulls(story) == []


def test_a_deposed_leader_and_the_next_one_make_one_job() -> None:
    story = two_nodes()
    story.apply(spec("1.1.0", **ASKED))
    story.until(lambda: bool(pulls(story)))
    [job] = pulls(story)
    story.restart()
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert made(story) == [job["metadata"]["name"]]


@pytest.mark.parametrize("ends", ["refused", "aborted", "rolled back"])
def test_it_goes_with_the_candidate_and_no_way_back_waits_for_it(ends: str) -> None:
    story = two_nodes()
    story.machinery.pulling["api"] = HANGING
    if ends == "refused":
        story.wrong_answers.add("1.1.0")
    story.apply(spec("1.1.0", **ASKED))
    story.until(Phase.SOAKING if ends == "rolled back" else Phase.VERIFYING)
    assert len(pulls(story)) == 1
    begun = story.now
    if ends != "refused":
        way = {"aborted": names.ANNOTATION_ABORT, "rolled back": names.ANNOTATION_ROLLBACK}[ends]
        story.annotate(way, story.upgrade.id)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is not Outcome.SUCCEEDED
    assert story.serving() == {"1.0.0"}
    assert pulls(story) == []
    assert story.now - begun < PATIENCE


def test_nodes_that_the_template_may_not_use_are_left_out_and_workers_count() -> None:
    taint = {"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}
    story = with_nodes(installed(spec("1.0.0", **ASKED)), {"labels": {"disk": "fast"}}, taint)
    worker = worker_component("1.1.0")
    worker["template"]["spec"]["nodeSelector"] = {"disk": "fast"}
    story.apply(spec("1.1.0", components=[api_component("1.1.0"), worker], **ASKED))
    story.until(lambda: len(pulls(story)) == 2)

    sizes = {
        job["metadata"]["labels"][names.LABEL_COMPONENT]: job["spec"]["completions"] for job in pulls(story)
    }
    assert sizes == {"api": 2, "worker": 1}, "workers too, which have no pod before the switch"
    story.settled()
    assert story.status.reason == Reason.STABLE


def test_where_nodes_may_not_be_listed_that_is_told_and_nothing_waits() -> None:
    story = two_nodes()

    def forbidden(kind: str, *_: Any, **__: Any) -> list[Object]:
        raise ApiError(403, "Forbidden", f"may not list {kind}")

    class Blind:
        list = staticmethod(forbidden)
        pages = staticmethod(forbidden)

    story.rooms = RoomReader(Blind(), clock_of(story))  # type: ignore[arg-type]
    story.apply(spec("1.1.0", **ASKED))
    story.settled()
    [said] = warnings(story)
    assert "no right to list nodes" in said
    assert story.serving() == {"1.1.0"}
    assert made(story) == []


def test_a_job_that_somebody_removed_is_not_missed() -> None:
    story = two_nodes()
    story.machinery.pulling["api"] = HANGING
    story.apply(spec("1.1.0", **ASKED))
    story.until(lambda: story.status.phase is Phase.VERIFYING and story.status.reason == Reason.PRE_PULLING)
    [job] = pulls(story)
    story.kube.delete("Job", NAMESPACE, job["metadata"]["name"])
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert warnings(story) == []
    assert len(made(story)) == 1


def test_what_is_deleted_with_its_release_takes_it_along() -> None:
    story = two_nodes(deletionPolicy="Delete")
    story.machinery.pulling["api"] = HANGING
    story.apply(spec("1.1.0", deletionPolicy="Delete", **ASKED))
    story.until(lambda: bool(pulls(story)))
    story.delete()
    story.until(lambda: story.gone)
    assert pulls(story) == []


def test_a_hotfix_has_no_time_for_it() -> None:
    story = two_nodes()
    story.machinery.pulling["api"] = HANGING
    story.machinery.behaviours["localhost/mc:1.0.0"] = Behaviour(waiting="CrashLoopBackOff", restarts=9)
    story.wait(5)
    story.apply(spec("1.0.1", hotfix="1.0.1", **ASKED))
    begun = story.now
    story.until(lambda: story.serving() == {"1.0.1"})
    assert story.now - begun < PATIENCE
    assert made(story) == []
