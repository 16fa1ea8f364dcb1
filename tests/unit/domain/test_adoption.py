"""A running Deployment and Service become what an upgrade begins from, and not one pod is lost to its users."""

from collections.abc import Callable

import pytest
from tests.unit.domain.legacy import (
    DEPLOYMENT,
    SELECTOR,
    WORKER,
    adopted,
    adopting,
    apply_deployment,
    apply_service,
    deployment,
    force_service,
    replicas,
    running,
    service,
    untouched,
    with_worker,
)
from tests.unit.domain.plane import Json, traffic
from tests.unit.domain.story import BAD, NAME, NAMESPACE, Story, checkpoint

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import DeletionPolicy
from conductor.api.status import Outcome, Phase
from conductor.domain.routing import may_reach
from conductor.domain.sampling import needs


def in_the_soak() -> Story:
    return checkpoint("adoption soak", lambda: running(adopting(soak="30s")).until(Phase.SOAKING).wait(3))


def selector(story: Story) -> Json:
    found = story.kube.get("Service", NAMESPACE, "mc-api")
    assert found is not None
    return dict(found["spec"]["selector"])


def ports(story: Story) -> list[Json]:
    found = story.kube.get("Service", NAMESPACE, "mc-api")
    assert found is not None
    return list(found["spec"]["ports"])


def fewest_served(
    story: Story, until: Callable[[], bool], each_turn: Callable[[], None] = lambda: None
) -> int:
    """The fewest ready pods that the Service led to after any turn."""
    fewest = 99
    for _ in range(400):
        story.turn()
        each_turn()
        found = story.kube.get("Service", NAMESPACE, "mc-api")
        assert found is not None
        fewest = min(fewest, len(story.machinery.selected(found)))
        if until():
            return fewest
    raise AssertionError("never ended; last lines:\n" + "\n".join(story.log[-15:]))


def test_what_runs_is_adopted_and_upgraded_and_its_users_never_have_fewer_pods() -> None:
    story = running(adopting())
    fewest = fewest_served(story, lambda: story.status.phase is Phase.STABLE and story.serving() == {"1.0.0"})
    story.settled()

    assert fewest == 2
    assert story.deployments() == {"api/0.9.0": 0, "api/1.0.0": 2}
    assert story.condition("Ready") == ("True", "Stable")
    last = story.status.last_upgrade
    assert last is not None
    assert (last.from_, last.to, last.outcome) == ("0.9.0", "1.0.0", Outcome.SUCCEEDED)
    story.at_rest()


def test_the_next_upgrade_is_as_any_other_and_the_deployment_stays_at_zero() -> None:
    story = adopted()
    story.apply(adopting("1.1.0"))
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert replicas(story) == 0
    assert selector(story).items() >= SELECTOR.items()


def test_a_single_port_without_a_name_keeps_none_and_what_its_owner_wrote_is_restored_by_a_rollback() -> None:
    before = ports(running(adopting()))
    story = in_the_soak()
    assert [port.get("name") for port in ports(story)] == [None]
    assert [port["targetPort"] for port in ports(story)] == ["http"]
    story.health["1.0.0"] = BAD
    story.settled()
    assert ports(story) == before
    assert story.serving() == {"adopted"}


def test_before_the_switch_no_user_meets_the_candidate_though_it_carries_the_services_labels() -> None:
    story = running(adopting())
    met: set[str] = set()
    while story.status.phase is not Phase.SWITCHING:
        story.turn()
        met |= story.serving()
    assert met == {"adopted"}
    assert selector(story).items() > SELECTOR.items()


@pytest.mark.parametrize(
    "phase", [Phase.BRINGING_UP, Phase.VERIFYING, Phase.SOAKING, Phase.CLOSING, Phase.STABLE]
)
def test_an_ordinary_apply_of_the_services_manifest_changes_nothing_in_any_phase(phase: Phase) -> None:
    story = running(adopting(approval={"beforeSwitch": phase is Phase.VERIFYING}))
    story.until(Reason.ADOPTED).until(phase)
    before = selector(story)
    apply_service(story)
    assert selector(story) == before


@pytest.mark.parametrize("phase", [Phase.SOAKING, Phase.STABLE])
def test_forced_manifests_lead_nobody_to_the_old_pods_however_often_they_are_applied(phase: Phase) -> None:
    """Flux or a forced apply, every time a little later than the last one was answered."""
    story = adopted()
    if phase is Phase.SOAKING:
        story.apply(adopting("1.1.0", soak="10m"))
        story.until(Phase.SOAKING).wait(10)
    serving = story.serving()
    for _ in range(5):
        force_service(story)
        apply_deployment(story)
        for _ in range(8):
            story.turn()
            assert "adopted" not in story.serving()
            assert serving <= story.serving()
        story.wait(5)
        assert replicas(story) == 0


def test_a_candidate_that_a_forced_manifest_led_users_to_is_taken_back_as_one_that_had_users() -> None:
    story = adopted()
    story.apply(adopting("1.1.0", approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    force_service(story)
    story.machinery.settle()
    assert may_reach(story.observe(), story.observe().revisions[story.upgrade.to_revision])
    story.wait(1)
    assert story.upgrade.took_traffic
    assert story.serving() == {"1.0.0"}


def test_a_rollback_commanded_in_the_soak_leads_all_users_to_what_was_adopted() -> None:
    story = in_the_soak()
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    fewest = fewest_served(story, lambda: story.status.upgrade is None)
    assert fewest >= 2
    assert story.serving() == {"adopted"}
    assert replicas(story) == 2
    story.settled()
    assert story.condition("Stalled") == ("True", "RolledBack")


def test_in_closing_the_deployment_is_scaled_up_again_before_users_go_back() -> None:
    story = running(adopting(deadlines={"rollback": "2m"}))
    story.until(Phase.CLOSING).until(lambda: replicas(story) == 0)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    assert fewest_served(story, lambda: story.status.upgrade is None) >= 1
    assert story.serving() == {"adopted"}


def test_once_the_window_is_closed_what_was_adopted_is_no_version_to_go_back_to() -> None:
    story = adopted()
    [hash_] = [found for found, revision in story.observe().revisions.items() if revision.adopted]
    story.change(rollbackTo=hash_)
    story.until(Reason.ADOPTED_CLOSED)
    assert story.serving() == {"1.0.0"}
    assert "its window is closed" in story.status.message


def test_a_rollback_to_name_keeps_what_was_adopted_where_users_went_back_to_it() -> None:
    story = in_the_soak()
    adopted_hash = story.upgrade.from_revision
    story.change(rollbackTo=adopted_hash)
    story.settled()
    assert story.serving() == {"adopted"}
    assert story.condition("Ready")[0] == "True"


def test_taken_out_of_the_spec_while_it_serves_everything_is_as_its_owner_wrote_it() -> None:
    story = running(adopting(approval={"beforeSwitch": True}))
    before = [
        story.kube.get("Service", NAMESPACE, "mc-api"),
        story.kube.get("Deployment", NAMESPACE, DEPLOYMENT),
    ]
    story.until(Reason.AWAITING_APPROVAL)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.settled()
    story.change(adopt=None)
    story.settled()

    assert untouched(story)
    after = [
        story.kube.get("Service", NAMESPACE, "mc-api"),
        story.kube.get("Deployment", NAMESPACE, DEPLOYMENT),
    ]
    assert [item["spec"] for item in after if item] == [item["spec"] for item in before if item]
    assert story.serving() == {"adopted"}
    assert not [hash_ for hash_, revision in story.observe().revisions.items() if revision.adopted]


def test_after_the_upgrade_it_is_handed_back_at_zero_and_its_owner_may_do_as_they_like() -> None:
    story = adopted()
    story.change(adopt=None)
    story.settled()
    found = story.kube.get("Deployment", NAMESPACE, DEPLOYMENT)
    assert found is not None
    assert not found["spec"].get("paused")
    apply_deployment(story)
    story.wait(20)
    assert replicas(story) == 2
    assert story.serving() == {"1.0.0"}


@pytest.mark.parametrize("after_upgrade", [False, True])
def test_deletion_with_everything_removes_nothing_that_a_user_made(after_upgrade: bool) -> None:
    policy = str(DeletionPolicy.DELETE)
    story = running(adopting(deletionPolicy=policy, approval={"beforeSwitch": not after_upgrade}))
    story.until(Reason.STABLE if after_upgrade else Reason.AWAITING_APPROVAL)
    story.delete()
    story.until(lambda: story.gone)
    assert story.kube.get("Service", NAMESPACE, "mc-api") is not None
    assert story.kube.get("Deployment", NAMESPACE, DEPLOYMENT) is not None
    assert untouched(story)
    assert after_upgrade or story.serving() == {"adopted"}


def test_installed_again_after_the_release_was_deleted_the_old_deployment_is_left_alone() -> None:
    story = adopted()
    wanted = story.release["spec"]
    story.delete()
    story.turn()
    assert story.gone
    again = {"name": NAME, "namespace": NAMESPACE, "uid": "7d2f"}
    story.kube.put(names.KIND, NAMESPACE, {"kind": names.KIND, "metadata": again, "spec": wanted})
    story.settled()
    assert story.serving() == {"1.0.0"}
    assert replicas(story) == 0


def test_a_worker_is_handed_over_and_back() -> None:
    worker = deployment(WORKER, 1, app="worker")
    story = running(with_worker(soak="30s"), deployment(), service(), worker)
    story.until(Phase.SOAKING).wait(3)
    assert replicas(story, WORKER) == 0
    assert story.deployments()["worker/1.0.0"] == 1
    story.health["1.0.0"] = BAD
    story.settled()
    assert replicas(story, WORKER) == 1
    assert "worker/1.0.0" not in story.deployments()


def test_a_ramp_is_left_out_for_what_was_adopted_and_kept_for_what_follows() -> None:
    ramp = traffic(ramp=[{"weight": 50, "hold": "2s"}])
    story = running(adopting(traffic=ramp))
    story.settled()
    assert Phase.RAMPING not in story.phases
    story.apply(adopting("1.1.0", traffic=ramp))
    story.settled()
    assert Phase.RAMPING in story.phases
    assert story.serving() == {"1.1.0"}


def test_a_rollout_that_is_under_way_is_waited_for() -> None:
    story = running(adopting())
    [pod, *_] = story.machinery.unlabelled_pods()
    change = {"metadata": {"labels": {names.LABEL_POD_TEMPLATE_HASH: "0123456789"}}}
    story.kube.edit("Pod", NAMESPACE, pod["metadata"]["name"], change)
    story.wait(10)
    assert story.status.reason == Reason.ADOPTING
    assert "of several templates" in story.status.message
    assert untouched(story)
    story.kube.drop("Pod", NAMESPACE, pod["metadata"]["name"])
    story.settled()
    assert story.serving() == {"1.0.0"}


def test_a_rollout_that_began_in_between_is_let_go_on() -> None:
    """Its rollouts were paused a moment after a new template had come."""
    story = running(adopting())
    story.until(lambda: not untouched(story))
    [pod, *_] = story.machinery.unlabelled_pods()
    change = {"metadata": {"labels": {names.LABEL_POD_TEMPLATE_HASH: "0123456789"}}}
    story.kube.edit("Pod", NAMESPACE, pod["metadata"]["name"], change)
    story.wait(5)
    assert untouched(story)
    story.kube.drop("Pod", NAMESPACE, pod["metadata"]["name"])
    story.settled()
    assert story.serving() == {"1.0.0"}


def test_rollouts_that_somebody_resumes_are_paused_again() -> None:
    story = running(adopting(approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    story.kube.edit("Deployment", NAMESPACE, DEPLOYMENT, {"spec": {"paused": False}})
    story.wait(1)
    found = story.kube.get("Deployment", NAMESPACE, DEPLOYMENT)
    assert found is not None
    assert found["spec"]["paused"] is True


def test_without_the_deployment_an_upgrade_goes_on_and_a_rollback_says_why_it_cannot() -> None:
    story = in_the_soak()
    story.kube.drop("Deployment", NAMESPACE, DEPLOYMENT)
    story.wait(5)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.wait(40)
    assert story.serving() == {"1.0.0"}
    assert story.status.reason == Reason.TARGET_NOT_READY
    assert "/stay" in story.status.message


def test_a_service_that_somebody_deletes_is_made_again_for_what_serves() -> None:
    story = running(adopting(approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    story.kube.drop("Service", NAMESPACE, "mc-api")
    story.wait(2)
    assert story.serving() == {"adopted"}


def test_paused_or_with_the_flag_off_nothing_is_touched() -> None:
    story = running(adopting(paused=True))
    story.wait(10)
    assert untouched(story)
    story.change(paused=False)
    story.new_upgrades = False
    story.wait(10)
    assert untouched(story)


def test_consent_starts_no_upgrade_by_itself() -> None:
    story = adopted()
    sequence = story.status.sequence
    story.change(adopt=None)
    story.settled()
    story.change(adopt=adopting()["adopt"])
    story.settled()
    assert story.status.sequence == sequence
    assert untouched(story) or story.serving() == {"1.0.0"}


def test_silence_of_adopted_pods_is_asked_for_by_their_own_names() -> None:
    story = running(adopting()).until(Phase.CLOSING)
    asked = needs(story.observe()).silence
    assert asked is not None
    assert f'pod=~"({DEPLOYMENT}-' in asked.present
