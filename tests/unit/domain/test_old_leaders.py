"""A leader is suspended with a write in its hand; another one takes over; the first one wakes and lets go of it."""

from collections.abc import Callable

import pytest
from tests.unit.domain.plane import api_component, spec, traffic, worker_component
from tests.unit.domain.story import NAME, NAMESPACE, Story, installed

from conductor.adapters.kube import ConflictError
from conductor.api import names
from conductor.api.status import Phase
from conductor.domain.companion import KINDS as KINDS_BESIDE
from conductor.domain.determine import determine
from conductor.domain.effects import (
    CreateObject,
    DeleteObjects,
    DeletePods,
    Effect,
    PublishColour,
    RewriteObject,
    ScaleDeployment,
    SetServing,
    SwitchServices,
)
from conductor.domain.plan import plan
from conductor.effects.make import make

KINDS = ("Deployment", "Pod", "ConfigMap", "Service")
RAMP = traffic(ramp=[{"weight": 25, "hold": "5s"}], configMap="mc-traffic")


def plane(version: str) -> dict[str, object]:
    components = [*spec(version)["components"], worker_component(version)]
    return spec(version, components=components, traffic=RAMP)


def upgrading() -> Story:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    return story


def next_effect(story: Story) -> Effect | None:
    """What the leader would do now; its status is written, its effect is not made."""
    story.machinery.tick(story.now)
    s = story.observe()
    decided = plan(s, determine(s))
    return decided.effect


def suspended_with(
    story: Story, kind: type[Effect], holds: Callable[[Effect], bool] = lambda _: True
) -> Effect:
    """Go on until the next effect is of that kind, and leave it in the leader's hand."""
    found: list[Effect] = []

    def in_hand() -> bool:
        effect = next_effect(story)
        if isinstance(effect, kind) and holds(effect):
            found.append(effect)
        return bool(found)

    story.until(in_hand)
    return found[0]


def to_zero(effect: Effect) -> bool:
    return isinstance(effect, ScaleDeployment) and effect.replicas == 0 and "-api-" in effect.deployment


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        (SetServing, lambda _: True),
        (SwitchServices, lambda _: True),
        (PublishColour, lambda _: True),
        (ScaleDeployment, lambda _: True),
        (DeletePods, lambda _: True),
        (ScaleDeployment, to_zero),
    ],
    ids=["SetServing", "SwitchServices", "PublishColour", "surge", "DeletePods", "scale to zero"],
)
def test_a_write_in_a_suspended_leaders_hand_fails_after_the_takeover(
    kind: type[Effect], holds: Callable[[Effect], bool]
) -> None:
    story = upgrading()
    late = suspended_with(story, kind, holds)
    story.epoch += 1
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(lambda: story.status.epoch == story.epoch)
    before = story.serving()

    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, NAME, late)

    story.settled()
    assert story.serving() == {"1.0.0"}
    assert before <= {"1.0.0", "1.1.0"}


def test_the_removal_of_a_candidate_that_serves_meanwhile_fails() -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(lambda: "api/1.1.0" in story.deployments())
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    late = suspended_with(story, DeleteObjects)
    story.epoch += 1
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    story.annotate(names.ANNOTATION_RETRY, last.id)
    story.until(Phase.SOAKING)
    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, NAME, late)
    assert story.serving() == {"1.1.0"}


def test_a_release_at_rest_costs_a_new_leader_no_write() -> None:
    story = installed(plane("1.0.0"))
    story.epoch += 1
    writes = len(story.kube.writes)
    story.wait(600)
    assert len(story.kube.writes) == writes


def test_everything_that_can_be_written_to_is_claimed_before_the_release_is() -> None:
    story = upgrading()
    story.until(Phase.SOAKING)
    there = {item["metadata"]["name"] for kind in KINDS for item in story.kube.list(kind, NAMESPACE)}
    story.epoch += 1
    story.until(lambda: story.status.epoch == story.epoch)
    epochs = {
        f"{kind}/{item['metadata']['name']}": (item["metadata"].get("annotations") or {}).get(
            names.ANNOTATION_EPOCH
        )
        for kind in KINDS
        for item in story.kube.list(kind, NAMESPACE)
        if item["metadata"]["name"] in there and not item["metadata"]["name"].endswith("-preview")
        # Receipts are inserted by comparing with what is there: an old leader has no other to insert.
        if names.LABEL_RECEIPTS not in (item["metadata"].get("labels") or {})
    }
    assert set(epochs.values()) == {str(story.epoch)}, epochs


def test_what_carries_a_higher_epoch_is_claimed_too() -> None:
    """Somebody deleted the Lease, and counting began anew below what a suspended leader had written."""
    story = upgrading()
    story.epoch = 9
    held = suspended_with(story, SwitchServices)
    story.epoch = 3
    story.turn()
    story.until(lambda: story.status.epoch == 3)

    service = story.kube.get("Service", NAMESPACE, "mc-api")
    assert service is not None
    assert service["metadata"]["annotations"][names.ANNOTATION_EPOCH] == "3"
    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, NAME, held)


def test_creations_are_not_fenced_because_they_change_nothing_that_runs() -> None:
    """The one kind of write that an old leader can still make; what it makes is nobody's, or is there already."""
    story = upgrading()
    late = suspended_with(story, CreateObject)
    story.epoch += 1
    story.settled()
    writes = len(story.kube.writes)
    make(story.kube, NAMESPACE, NAME, late)
    assert story.serving() == {"1.1.0"}
    assert len(story.kube.writes) == writes


# autoscalers and disruption budgets

SCALED = {"minReplicas": 2, "maxReplicas": 8, "targetCPUUtilizationPercentage": 70}


def sized(version: str, **more: object) -> dict[str, object]:
    component = api_component(version, autoscaling=SCALED, disruptionBudget={"minAvailable": 1})
    component.pop("replicas")
    return spec(version, components=[component], **more)


def of_kind(kind: str) -> Callable[[Effect], bool]:
    return lambda effect: effect.subject.startswith(kind)


@pytest.mark.parametrize("kind", KINDS_BESIDE)
def test_a_late_creation_beside_a_deployment_meets_what_the_next_leader_made(kind: str) -> None:
    story = installed(sized("1.0.0"))
    story.apply(sized("1.1.0"))
    late = suspended_with(story, CreateObject, of_kind(kind))
    story.epoch += 1
    story.settled()
    before = story.kube.list(kind, NAMESPACE)
    make(story.kube, NAMESPACE, NAME, late)
    assert story.kube.list(kind, NAMESPACE) == before


@pytest.mark.parametrize("kind", KINDS_BESIDE)
def test_every_later_write_beside_a_deployment_fails_after_the_takeover(kind: str) -> None:
    story = installed(sized("1.0.0"))
    story.apply(sized("1.1.0", soak="1m"))
    late = suspended_with(story, RewriteObject, of_kind(kind))
    story.epoch += 1
    story.until(lambda: story.status.epoch == story.epoch)
    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, NAME, late)


def test_what_comes_late_where_nobody_asks_for_it_any_more_does_nothing() -> None:
    """No version fences a creation: so it says nothing yet, and what it is to say is written by version."""
    story = installed(spec("1.0.0"))
    held = []
    for kind in KINDS_BESIDE:
        story.apply(sized("1.0.0"))
        held.append(suspended_with(story, CreateObject, of_kind(kind)))
    story.epoch += 1
    story.apply(spec("1.0.0"))
    story.settled()
    assert [story.kube.list(kind, NAMESPACE) for kind in KINDS_BESIDE] == [[], []]
    for late in held:
        make(story.kube, NAMESPACE, NAME, late)

    [scaler], [budget] = (story.kube.list(kind, NAMESPACE) for kind in KINDS_BESIDE)
    rules = scaler["spec"]["behavior"]
    assert {rules[way]["selectPolicy"] for way in ("scaleUp", "scaleDown")} == {"Disabled"}
    assert budget["spec"]["maxUnavailable"] == "100%"
    for wanted in (1, 7):
        story.machinery.demand["localhost/mc:1.0.0"] = wanted
        story.wait(10)
        assert story.deployments() == {"api/1.0.0": 3}

    story.apply(sized("1.0.0"))
    story.settled()
    assert story.deployments() == {"api/1.0.0": 7}, "asked for again, it is what is asked for"
