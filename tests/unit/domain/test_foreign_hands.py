"""Somebody else changes what the operator looks after; operators change; releases are deleted."""

import pytest
from tests.unit.domain.plane import migrations, spec, worker_component
from tests.unit.domain.process import OperatorDiedError
from tests.unit.domain.story import NAME, NAMESPACE, Story, installed
from tests.unit.effects.memory_api import Write

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.domain.effects import ClaimObjects, DeleteObjects, SwitchServices


def revert(story: Story, selector: dict[str, str | None], manager: str = "helm") -> None:
    """Somebody applies a selector of their own."""
    owned = [{"manager": manager, "fieldsV1": {"f:spec": {"f:selector": {}}}}]
    change = {"metadata": {"managedFields": owned}, "spec": {"selector": selector}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)


OTHER: dict[str, str | None] = {names.LABEL_REVISION: None, "app": "mc"}


def test_two_reversions_are_answered_and_the_third_is_a_dispute_for_people() -> None:
    story = installed(spec("1.0.0"))
    for _ in range(2):
        revert(story, OTHER)
        story.settled()
        assert story.serving() == {"1.0.0"}
    revert(story, OTHER)
    story.settled()

    assert story.condition("Stalled") == ("True", Reason.TRAFFIC_REVERTED)
    assert (
        "Service mc-api: its selector was changed by helm 3 times; take the selector out"
        in story.status.message
    )
    assert story.serving() == set()
    assert len([effect for effect in story.effects if isinstance(effect, SwitchServices)]) == 2
    story.at_rest()


def test_a_reversion_in_the_soak_is_answered_and_the_standby_stays() -> None:
    story = installed(spec("1.0.0", soak="60s"))
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Phase.SOAKING)
    for _ in range(3):
        revert(story, {names.LABEL_REVISION: story.upgrade.from_revision})
        story.wait(2)
    assert story.condition("Stalled") == ("True", Reason.TRAFFIC_REVERTED)
    story.long_after(minutes=10)

    assert story.status.phase is Phase.SOAKING
    assert story.serving() == {"1.0.0"}
    assert story.deployments()["api/1.0.0"] >= 3, "the colour that it selects is never scaled away"


def test_a_reversion_whose_answer_died_with_its_leader_counts_once() -> None:
    story = installed(spec("1.0.0"))

    def die(_: str, write: Write) -> None:
        if write.kind == "Service" and write.verb == "patch" and not write.dry_run:
            raise OperatorDiedError("the operator died before its patch of the Service")

    revert(story, OTHER)
    story.kube.fault = die
    for _ in range(6):
        # Each of them writes its intent, claims what the one before left, and dies over its patch.
        story.turn()
    story.kube.fault = None
    story.settled()

    assert story.epoch > 2
    assert story.serving() == {"1.0.0"}
    assert story.status.traffic.reversions == 1
    revert(story, OTHER)
    story.settled()
    assert story.status.traffic.reversions == 2
    assert story.serving() == {"1.0.0"}


def edit_template(story: Story, name: str, rollout: str) -> None:
    """Somebody edits a template; its controller counts that."""
    counted = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": rollout}}}
    story.kube.edit("Deployment", NAMESPACE, name, counted)


def test_an_edit_of_the_standby_is_said_before_a_rollback_uses_it() -> None:
    story = installed(spec("1.0.0", soak="60s"))
    [standby] = [item["metadata"]["name"] for item in story.kube.list("Deployment", NAMESPACE)]
    edit_template(story, standby, "2")
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Phase.SOAKING).wait(25)
    assert story.status.reason == Reason.SOAKING, "users were on that until the switch"

    edit_template(story, standby, "3")
    story.wait(2)
    assert story.status.reason == Reason.STANDBY_EDITED
    assert f"template of Deployment {standby}" in story.status.message
    events = [item["reason"] for item in story.kube.list("Event", NAMESPACE)]
    assert events.count(Reason.STANDBY_EDITED) == 1

    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(lambda: story.serving() == {"1.0.0"})
    assert any("nobody has proven that" in line for line in story.log[-10:])


def test_a_dispute_ends_when_the_service_is_as_it_should_be() -> None:
    story = installed(spec("1.0.0"))
    kept = story.kube.get("Service", NAMESPACE, "mc-api")
    assert kept is not None
    for _ in range(3):
        revert(story, OTHER)
        story.settled()
    revert(story, {**kept["spec"]["selector"], "app": None})
    story.settled()

    assert story.condition("Stalled")[0] == "False"
    assert story.condition("Ready")[0] == "True"


def test_a_new_leader_claims_the_services_before_anything_else() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.VERIFYING)
    story.epoch = 7
    decided = story.turn()

    assert decided is not None
    assert isinstance(decided.effect, ClaimObjects)
    assert story.status.epoch == 1, "the release carries the epoch once everything else does"
    story.turn()
    assert story.status.epoch == 7
    story.settled()
    service = story.kube.get("Service", NAMESPACE, "mc-api")
    assert service is not None
    assert service["metadata"]["annotations"][names.ANNOTATION_EPOCH] == "7"


def test_a_claim_does_not_make_a_stalled_release_look_ready() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1"))
    story.settled()
    story.epoch += 1
    story.turn()

    assert story.condition("Ready")[0] == "False"


def test_an_upgrade_goes_on_under_every_new_leader() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.turn()
    story.turn()
    while story.status.upgrade is not None:
        story.epoch += 1
        story.turn()
        story.turn()
    story.settled()

    assert story.status.active_version == "1.1.0"


def test_a_helm_upgrade_that_renders_the_same_again_changes_nothing() -> None:
    story = installed(spec("1.0.0"))
    for _ in range(100):
        story.apply(spec("1.0.0"))
    story.at_rest()


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_what_serves_is_made_again_where_somebody_deleted_it(kind: str) -> None:
    story = installed(spec("1.0.0"))
    [item] = list(story.kube.list(kind, NAMESPACE))
    story.kube.drop(kind, NAMESPACE, item["metadata"]["name"])
    story.settled().wait(10)

    assert story.serving() == {"1.0.0"}
    assert story.condition("Ready")[0] == "True"


def test_a_lost_record_of_what_serves_is_written_again() -> None:
    story = installed(spec("1.0.0"))
    name = names.revision_name(NAME, story.status.active_revision)
    story.kube.drop("ControllerRevision", NAMESPACE, name)
    story.settled()

    assert story.kube.get("ControllerRevision", NAMESPACE, name) is not None
    assert story.status.sequence == 1, "no upgrade starts for it"
    assert story.serving() == {"1.0.0"}


def from_the_future(story: Story, revision: str) -> str:
    """The record as a newer operator writes it, with a field that this one does not know."""
    name = names.revision_name(NAME, revision)
    record = story.kube.get("ControllerRevision", NAMESPACE, name)
    assert record is not None
    spec_of_it = {**record["data"]["spec"], "fromTheFuture": 1}
    story.kube.put(
        "ControllerRevision", NAMESPACE, {**record, "data": {**record["data"], "spec": spec_of_it}}
    )
    return name


def test_a_record_of_what_serves_that_cannot_be_read_is_said_and_not_written_again_and_again() -> None:
    story = installed(spec("1.0.0"))
    name = from_the_future(story, story.status.active_revision)
    story.wait(5)

    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)
    assert f"kubectl delete controllerrevision {name} -n {NAMESPACE}" in story.status.message
    assert story.serving() == {"1.0.0"}
    assert story.effects == []
    story.at_rest()

    story.kube.drop("ControllerRevision", NAMESPACE, name)
    story.settled()
    assert story.condition("Ready")[0] == "True"
    assert story.status.sequence == 1, "no upgrade starts for it"


def test_a_record_of_the_candidate_that_cannot_be_read_holds_its_upgrade() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING)
    from_the_future(story, story.upgrade.to_revision)
    before = len(story.effects)
    story.long_after(minutes=5)

    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)
    assert story.effects[before:] == []
    assert story.serving() == {"1.1.0"}


def test_a_lost_record_of_a_superseded_candidate_ends_its_upgrade() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP)
    story.kube.drop("ControllerRevision", NAMESPACE, names.revision_name(NAME, story.upgrade.to_revision))
    story.apply(spec("1.2.0"))
    story.settled()

    assert story.status.active_version == "1.2.0"
    assert len(story.status.last_upgrade.timeline if story.status.last_upgrade else ()) < 15


def test_a_lost_record_of_what_users_are_on_changes_nothing_until_it_is_restored() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING)
    name = names.revision_name(NAME, story.upgrade.to_revision)
    record = story.kube.get("ControllerRevision", NAMESPACE, name)
    assert record is not None
    story.kube.drop("ControllerRevision", NAMESPACE, name)
    story.apply(spec("1.2.0"))
    before = len(story.effects)
    story.long_after(minutes=5)
    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)
    assert story.effects[before:] == []

    story.kube.put("ControllerRevision", NAMESPACE, record)
    story.settled()
    assert story.status.active_version == "1.2.0"


def rich(version: str, policy: str) -> Object:
    components = [*spec(version)["components"], worker_component(version)]
    return spec(version, components=components, migrations=migrations(version), deletionPolicy=policy)


def test_a_deleted_release_leaves_everything_that_serves() -> None:
    story = installed(rich("1.0.0", "Orphan"))
    kinds = ("Deployment", "Service", "ControllerRevision", "ConfigMap", "Job")
    before = {kind: story.kube.list(kind, NAMESPACE) for kind in kinds}
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    story.turn()

    assert story.gone
    assert {kind: story.kube.list(kind, NAMESPACE) for kind in kinds} == before


def made_again(story: Story, wanted: Object) -> Story:
    """The release is deleted, what serves stays, and somebody applies it again: another object of the same name."""
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    story.turn()
    assert story.gone
    metadata = {"name": NAME, "namespace": NAMESPACE, "uid": "another"}
    story.kube.put(names.KIND, NAMESPACE, {"kind": names.KIND, "metadata": metadata, "spec": wanted})
    return story


def test_another_version_than_the_one_that_was_left_is_an_upgrade_from_it() -> None:
    story = made_again(installed(spec("1.0.0")), spec("1.1.0"))
    story.until(Reason.TAKEN_UP)
    assert (story.status.active_version, story.status.traffic.current) == ("1.0.0", "blue")
    story.until(Phase.VERIFYING)
    assert story.serving() == {"1.0.0"}
    assert story.upgrade.from_ == "1.0.0"
    story.settled()

    assert story.serving() == {"1.1.0"}
    assert story.status.traffic.current == "green"
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3}


def test_the_version_that_was_left_is_at_rest_at_once() -> None:
    story = made_again(installed(spec("1.0.0")), spec("1.0.0"))
    before = len(story.effects)
    story.settled()

    assert story.condition("Ready")[0] == "True"
    assert {effect.name for effect in story.effects[before:]} <= {"ClaimObjects"}
    assert story.status.sequence == 0, "nothing is installed over what runs"
    story.at_rest()


def test_what_was_left_in_mid_soak_goes_back_from_the_colour_that_users_are_on() -> None:
    story = installed(spec("1.0.0", soak="60s"))
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Phase.SOAKING).wait(15)
    made_again(story, spec("1.2.0"))
    story.until(Reason.TAKEN_UP)

    assert (story.status.active_version, story.status.traffic.current) == ("1.1.0", "green")
    assert "beside it run mc-api-blue-" in story.status.message
    story.settled()
    assert story.serving() == {"1.2.0"}


@pytest.mark.parametrize("lost", ["the record", "the selector"])
def test_what_was_left_and_cannot_be_told_is_not_installed_over(lost: str) -> None:
    story = installed(spec("1.0.0"))
    revision = story.status.active_revision
    if lost == "the record":
        story.kube.drop("ControllerRevision", NAMESPACE, names.revision_name(NAME, revision))
    else:
        revert(story, {names.LABEL_REVISION: None, names.LABEL_SERVING: "true"})
    made_again(story, spec("1.1.0"))
    before = list(story.effects)
    story.wait(30)

    assert story.condition("Stalled") == ("True", Reason.LEFT_BEHIND)
    assert "Service" in story.status.message
    assert story.effects == before
    assert story.deployments().keys() == {"api/?" if lost == "the record" else "api/1.0.0"}


@pytest.mark.parametrize("phase", [Phase.STABLE, Phase.BRINGING_UP, Phase.SOAKING])
def test_delete_takes_everything_of_ours_and_nothing_else(phase: Phase) -> None:
    story = installed(rich("1.0.0", "Delete"))
    assert names.FINALIZER in story.release["metadata"]["finalizers"]
    if phase is not Phase.STABLE:
        story.apply(rich("1.1.0", "Delete"))
        story.until(phase)
    foreign = story.kube.put("ConfigMap", NAMESPACE, {"metadata": {"name": "theirs"}, "data": {}})
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    for _ in range(20):
        story.turn()

    assert story.gone
    left = [
        item
        for kind in ("Deployment", "Service", "ControllerRevision", "Job")
        for item in story.kube.list(kind, NAMESPACE)
    ]
    assert left == []
    assert story.kube.get("ConfigMap", NAMESPACE, "theirs") == foreign
    assert story.kube.get("ConfigMap", NAMESPACE, "mc-traffic") is None, "the operator made it"
    assert any(isinstance(effect, DeleteObjects) for effect in story.effects)


def test_delete_leaves_a_traffic_config_map_that_was_there_before() -> None:
    story = Story(spec("1.0.0", deletionPolicy="Delete"))
    theirs = {"metadata": {"name": "mc-traffic", "labels": {"app": "mc"}}, "data": {"current": "blue"}}
    story.kube.put("ConfigMap", NAMESPACE, theirs)
    story.settled()
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    for _ in range(10):
        story.turn()

    assert story.gone
    assert story.kube.get("ConfigMap", NAMESPACE, "mc-traffic") is not None


def test_a_policy_set_back_to_orphan_takes_the_finalizer_off() -> None:
    story = installed(spec("1.0.0", deletionPolicy="Delete"))
    story.change(deletionPolicy="Orphan")
    story.settled()

    assert not story.release["metadata"].get("finalizers")
    story.at_rest()
