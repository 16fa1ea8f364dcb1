"""Defects that tests/model found, told again as stories on the real gatherer and effects."""

from collections.abc import Callable
from datetime import timedelta

from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import migrations, spec, worker_component
from tests.unit.domain.story import NAME, NAMESPACE, Story, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ConflictError, Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.effects.make import make

OLD, NEW = "1.0.0", "1.1.0"


def image(version: str) -> str:
    return f"localhost/mc:{version}"


def point(story: Story, version: str, manager: str = "kubectl-patch") -> None:
    """Somebody points the Service at a version."""
    revision = next(
        item["data"]["hash"]
        for item in story.kube.list("ControllerRevision", NAMESPACE)
        if item["data"]["spec"]["version"] == version
    )
    owned = [{"manager": manager, "fieldsV1": {"f:spec": {"f:selector": {}}}}]
    change = {"metadata": {"managedFields": owned}, "spec": {"selector": {names.LABEL_REVISION: revision}}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)


def upgrading(until: Phase, plane: Callable[..., Object] = spec) -> Story:
    story = installed(plane(OLD))
    story.apply(plane(NEW))
    return story.until(until)


def with_worker(version: str) -> Object:
    plane = spec(version)
    return {**plane, "components": [*plane["components"], worker_component(version)]}


def test_a_rollback_to_a_version_that_collapsed_asks_for_a_person_by_name() -> None:
    story = upgrading(Phase.SOAKING)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(lambda: story.serving() == {OLD})
    story.machinery.behaviours[image(OLD)] = Behaviour(ready=False, waiting="CrashLoopBackOff", restarts=9)
    story.wait(60)

    assert story.status.phase is Phase.ROLLING_BACK
    assert story.condition("Stalled") == ("True", Reason.CRASH_LOOPING)
    assert "has no ready endpoint; spec.components[api].template: container" in story.status.message

    story.machinery.behaviours.clear()
    story.settled()
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    assert story.serving() == {OLD}


def test_workers_that_crash_after_the_switch_take_it_back() -> None:
    story = upgrading(Phase.SWITCHING, with_worker)
    story.until(lambda: story.deployments().get("worker/1.1.0") == 1)
    worker = next(
        item
        for item in story.kube.list("Pod", NAMESPACE)
        if item["metadata"]["labels"][names.LABEL_COMPONENT] == "worker"
        and "deletionTimestamp" not in item["metadata"]
    )
    story.machinery.stays_ready |= {
        item["metadata"]["name"] for item in story.kube.list("Pod", NAMESPACE) if item is not worker
    }
    story.machinery.behaviours[image(NEW)] = Behaviour(ready=False, waiting="CrashLoopBackOff", restarts=9)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.CRASH_LOOPING
    assert story.serving() == {OLD}
    assert story.deployments()["worker/1.0.0"] == 1


def test_a_service_that_somebody_points_at_the_candidate_is_pointed_back_before_the_switch() -> None:
    story = upgrading(Phase.VERIFYING)
    point(story, NEW)
    story.turn()

    assert story.status.reason == Reason.TRAFFIC_REVERTED
    assert story.serving() == {OLD}


def test_a_candidate_that_somebody_gave_users_is_not_deleted_under_them() -> None:
    story = upgrading(Phase.VERIFYING)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.until(Phase.BACKING_OUT)
    point(story, NEW)
    story.turn()
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.serving() == {NEW}

    story.settled()
    assert "api/1.1.0" not in story.deployments()
    assert story.serving() == {OLD}


def test_what_a_candidate_may_have_written_before_the_switch_is_not_backed_out() -> None:
    def plane(version: str) -> Object:
        return spec(version, migrations=migrations(version))

    story = upgrading(Phase.VERIFYING, plane)
    point(story, NEW)
    story.turn()
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.settled()

    assert story.status.last_upgrade is not None
    assert Reason.EXPANDED_KEPT in story.status.last_upgrade.message
    assert not any("backout" in effect.subject for effect in story.effects)
    assert story.serving() == {OLD}


def test_a_service_is_not_pointed_back_at_a_version_without_a_ready_pod() -> None:
    story = upgrading(Phase.VERIFYING)
    story.machinery.behaviours[image(OLD)] = Behaviour(ready=False)
    story.machinery.tick(story.now)
    point(story, NEW)
    story.turn()

    assert story.serving() == {NEW}


def test_a_release_at_rest_says_that_it_has_nothing_to_point_its_service_back_at() -> None:
    story = upgrading(Phase.SOAKING).settled()
    story.annotate(names.ANNOTATION_RETRY, None)
    story.machinery.behaviours[image(NEW)] = Behaviour(ready=False)
    story.machinery.tick(story.now)
    point(story, OLD)
    story.wait(5)

    assert story.condition("Stalled") == ("True", Reason.TARGET_NOT_READY)
    assert "it is never pointed at nothing" in story.status.message

    story.machinery.behaviours.clear()
    story.settled()
    assert story.serving() == {NEW}
    assert story.condition("Ready")[0] == "True"


def test_a_service_that_somebody_switches_a_moment_before_us_is_proven_like_our_own() -> None:
    story = upgrading(Phase.SWITCHING)
    point(story, NEW)
    story.until(Phase.SOAKING)

    assert story.upgrade.switched_at is not None
    assert story.upgrade.took_traffic
    assert story.serving() == {NEW}


class Conflicts:
    """The first patches of Services fail, dry or not, as where somebody else writes to them all the time."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, moment: Moment, write: Write) -> None:
        if moment == "before" and write.verb == "patch" and write.kind == "Service" and self.left:
            self.left -= 1
            raise ConflictError(409, "Conflict", "the object has been modified")


def test_a_switch_that_is_not_made_is_nobodys_reversion() -> None:
    story = upgrading(Phase.SWITCHING)
    story.kube.fault = Conflicts(5)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.SUCCEEDED
    assert story.status.traffic.reversions == 0
    assert not any("TrafficReverted" in line for line in story.log)


def test_a_switch_that_waited_is_proven_from_when_it_is_made() -> None:
    story = upgrading(Phase.SWITCHING)
    story.kube.fault = Conflicts(1)
    story.turn()
    decided = story.upgrade.switched_at
    story.now += timedelta(minutes=2)
    story.until(Phase.SOAKING)

    assert decided is not None
    assert story.upgrade.switched_at is not None
    assert story.upgrade.switched_at - decided >= timedelta(minutes=2)


def test_one_reversion_is_counted_once_however_often_its_answer_fails() -> None:
    story = upgrading(Phase.SOAKING, lambda version: spec(version, soak="60s"))
    point(story, OLD)
    story.kube.fault = Conflicts(5)
    story.wait(5)

    assert story.serving() == {NEW}
    assert story.status.traffic.reversions == 1


def test_a_first_install_that_may_have_users_is_not_taken_away_by_a_command() -> None:
    story = Story(spec(OLD)).until(Phase.SWITCHING)
    story.turn()
    id_ = story.upgrade.id
    story.annotate(names.ANNOTATION_ABORT, id_)
    story.settled()

    assert story.serving() == {OLD}
    assert f"abort={id_}" in story.status.handled_commands
    assert story.condition("Ready")[0] == "True"


def test_a_creation_that_comes_too_late_does_not_set_the_size_of_what_runs() -> None:
    story = upgrading(Phase.BRINGING_UP, with_worker)
    story.until(lambda: "worker/1.1.0" in story.deployments())
    late = next(effect for effect in story.effects if "worker-green" in effect.subject)
    story.until(Phase.SOAKING)
    assert story.deployments()["worker/1.1.0"] == 1
    make(story.kube, NAMESPACE, NAME, late)

    assert story.deployments()["worker/1.1.0"] == 1


def test_a_creation_after_its_upgrade_has_ended_runs_nothing() -> None:
    story = upgrading(Phase.BRINGING_UP)
    story.until(lambda: "api/1.1.0" in story.deployments())
    late = next(effect for effect in story.effects if "api-green" in effect.subject)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.settled()
    assert "api/1.1.0" not in story.deployments()
    make(story.kube, NAMESPACE, NAME, late)
    story.settled()

    assert story.deployments()["api/1.1.0"] == 0
