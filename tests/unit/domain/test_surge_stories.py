"""Autoscalers and disruption budgets of ours: held while two colours stand side by side, and given back."""

import json
from typing import Any

import pytest
from tests.unit.domain.machinery import revision_of
from tests.unit.domain.plane import Json, api_component, spec, traffic, worker_component
from tests.unit.domain.story import NAMESPACE, SILENT, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.companion import KINDS
from conductor.domain.effects import DeleteObjects, ScaleDeployment

OLD, NEW = "localhost/mc:1.0.0", "localhost/mc:1.1.0"
SCALED: Json = {"minReplicas": 2, "maxReplicas": 8, "targetCPUUtilizationPercentage": 70}
BUDGET: Json = {"minAvailable": "50%"}


def scaled(version: str, asked: Json = SCALED, **more: Any) -> Json:
    component = api_component(version, autoscaling=asked, disruptionBudget=BUDGET)
    component.pop("replicas")
    return spec(version, **{"components": [component], "soak": "30s", **more})


def beside(story: Story, kind: str) -> dict[str, Object]:
    """Objects of a kind by the version that they stand beside."""
    return {story.version(revision_of(item)): item for item in story.kube.list(kind, NAMESPACE)}


def scalers(story: Story) -> dict[str, Json]:
    return {version: item["spec"] for version, item in beside(story, "HorizontalPodAutoscaler").items()}


def policies(spec_: Json) -> tuple[str, str]:
    behavior = spec_["behavior"]
    return behavior["scaleUp"]["selectPolicy"], behavior["scaleDown"]["selectPolicy"]


def status_of(story: Story) -> Json:
    """As it is stored."""
    return story.status.model_dump()


def of_load(replicas: int, **more: Any) -> Story:
    """1.0.0 at rest, which its load has made so large."""
    story = installed(scaled("1.0.0", **more))
    story.machinery.demand[OLD] = replicas
    story.wait(8)
    assert story.deployments() == {"api/1.0.0": replicas}
    return story


def test_each_deployment_has_what_is_asked_for_and_nothing_is_written_again() -> None:
    story = installed(scaled("1.0.0"))

    assert story.deployments() == {"api/1.0.0": 2}, "it begins with the least"
    [deployment] = story.kube.list("Deployment", NAMESPACE)
    scaler = beside(story, "HorizontalPodAutoscaler")["1.0.0"]
    assert scaler["metadata"]["name"] == deployment["metadata"]["name"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 8)
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert policies(scaler["spec"]) == ("Max", "Max")
    budget = beside(story, "PodDisruptionBudget")["1.0.0"]["spec"]
    assert budget == {"selector": {"matchLabels": deployment["spec"]["selector"]["matchLabels"]}, **BUDGET}
    story.machinery.demand[OLD] = 5
    story.wait(5)
    story.at_rest()
    assert story.deployments() == {"api/1.0.0": 5}, "our hands are off what an autoscaler sizes"


def test_the_candidate_begins_as_large_as_what_serves_and_nothing_shrinks_until_the_end() -> None:
    story = of_load(6)
    before = scalers(story)["1.0.0"]
    story.apply(scaled("1.1.0"))
    story.until(Phase.BRINGING_UP).until(lambda: "1.1.0" in scalers(story))
    story.machinery.demand |= {OLD: 2, NEW: 2}

    while story.status.phase is not Phase.CLOSING:
        story.turn()
        sizes = story.deployments()
        assert sizes["api/1.0.0"] >= 6, f"the way back shrank in {story.status.phase}"
        if story.status.phase is not Phase.BRINGING_UP:
            assert sizes["api/1.1.0"] == 6
    story.settled()

    assert story.status.reason == Reason.STABLE
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 2}, "given back, it follows its load"
    assert list(beside(story, "PodDisruptionBudget")) == ["1.1.0"]
    after = scalers(story)["1.1.0"]
    assert {**after, "scaleTargetRef": None} == {**before, "scaleTargetRef": None}
    assert list(scalers(story)) == ["1.1.0"]
    story.at_rest()


@pytest.mark.parametrize("demand", [2, 8])
def test_shedding_at_the_largest_size_is_not_fought_over(demand: int) -> None:
    """The surge goes beyond maxReplicas, and what stands by is wanted smaller, or larger, by its own autoscaler."""
    story = of_load(8)
    story.apply(scaled("1.1.0"))
    story.until(Phase.SOAKING)
    story.machinery.demand[OLD] = demand
    before = len(story.effects)
    story.until(Phase.CLOSING)

    sizes = [effect.replicas for effect in story.effects[before:] if isinstance(effect, ScaleDeployment)]
    assert sizes == [9, 11, 8], "one pod first, then a third, then the size of what serves"
    assert policies(scalers(story)["1.0.0"]) == ("Disabled", "Disabled")


def test_what_serves_may_grow_and_the_standby_follows_its_peak() -> None:
    story = of_load(3)
    story.apply(scaled("1.1.0", soak="60s"))
    story.until(Phase.SOAKING)
    story.machinery.demand[NEW] = 7
    story.until(lambda: story.deployments() == {"api/1.0.0": 7, "api/1.1.0": 7})
    story.machinery.demand[NEW] = 3
    story.wait(20)

    assert story.deployments() == {"api/1.0.0": 7, "api/1.1.0": 7}


def test_the_candidate_follows_what_serves_until_it_has_users() -> None:
    story = of_load(3)
    story.health["1.1.0"] = SILENT
    story.apply(scaled("1.1.0"))
    story.until(Phase.VERIFYING).wait(3)
    story.machinery.demand[OLD] = 6
    story.wait(8)

    assert story.deployments() == {"api/1.0.0": 6, "api/1.1.0": 6}
    assert story.status.phase is Phase.VERIFYING


@pytest.mark.parametrize("phase", [Phase.RAMPING, Phase.SOAKING])
def test_a_rollback_gives_back_what_it_came_from(phase: Phase) -> None:
    ramp: Json = {"traffic": traffic(ramp=[{"weight": 50, "hold": "20s"}])}
    story = of_load(4, **ramp)
    before = scalers(story)
    story.apply(scaled("1.1.0", **ramp))
    story.until(phase).wait(2)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    writes = len(story.kube.writes)
    story.until(lambda: story.serving() == {"1.0.0"})
    first = {write.kind for write in story.kube.writes[writes:]}
    assert not first & {"HorizontalPodAutoscaler", "PodDisruptionBudget"}, "users are taken back first"
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert last.outcome is Outcome.ROLLED_BACK
    assert scalers(story) == before
    assert list(beside(story, "PodDisruptionBudget")) == ["1.0.0"]
    assert list(story.deployments()) == ["api/1.0.0"]
    story.wait(5)
    assert story.deployments() == {"api/1.0.0": 4}
    story.at_rest()


def test_other_bounds_are_no_upgrade_and_are_known_to_whoever_goes_back() -> None:
    story = installed(scaled("1.0.0"))
    wider = {**SCALED, "maxReplicas": 12, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}
    story.apply(scaled("1.0.0", wider))
    story.settled()
    assert story.phases == [Phase.STABLE]
    before = scalers(story)
    assert before["1.0.0"]["maxReplicas"] == 12
    assert before["1.0.0"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60

    story.apply(scaled("1.1.0"))
    story.until(Phase.SOAKING).wait(3)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.settled()
    assert scalers(story) == before, "its record says 8, what stood said 12"


def test_other_words_for_a_budget_leave_nothing_of_the_former_ones() -> None:
    story = installed(scaled("1.0.0"))
    component = api_component("1.0.0", autoscaling=SCALED, disruptionBudget={"maxUnavailable": 1})
    component.pop("replicas")
    story.apply(scaled("1.0.0", components=[component]))
    story.settled()

    budget = beside(story, "PodDisruptionBudget")["1.0.0"]["spec"]
    assert (budget.get("minAvailable"), budget["maxUnavailable"]) == (None, 1)


def test_what_is_asked_for_no_more_goes() -> None:
    story = installed(spec("1.0.0"))
    component = api_component("1.0.0", autoscaling={**SCALED, "maxReplicas": 4}, disruptionBudget=BUDGET)
    story.apply(spec("1.0.0", components=[component]))
    story.settled()
    assert list(scalers(story)) == ["1.0.0"]
    story.apply(spec("1.0.0"))
    story.settled()

    assert story.phases == [Phase.STABLE]
    assert scalers(story) == {}
    assert beside(story, "PodDisruptionBudget") == {}
    story.at_rest()


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_once_everything_was_given_back_nothing_more_is_listed_for_it(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = installed(scaled("1.0.0"))
    assert status_of(story)["sized"] is True
    story.apply(spec(version))
    story.settled()
    assert status_of(story)["sized"] is False
    listed: list[str] = []

    def counted(kind: str, *rest: Any) -> list[Object]:
        listed.append(kind)
        return type(story.kube).list(story.kube, kind, *rest)

    monkeypatch.setattr(story.kube, "list", counted)
    story.observe()
    assert "Deployment" in listed
    assert not set(listed) & set(KINDS)
    monkeypatch.undo()
    story.at_rest()

    story.apply(scaled("1.2.0"))
    story.settled()
    assert list(scalers(story)) == ["1.2.0"]


def test_unpinned_they_stay_as_they_are_asked_for() -> None:
    story = of_load(4)
    before = scalers(story)["1.0.0"]
    story.apply(scaled("1.1.0", surge={"pin": False}))
    while story.status.phase is not Phase.SOAKING:
        story.turn()
        assert scalers(story)["1.0.0"] == before


def test_a_candidate_whose_bounds_are_lower_is_made_no_larger_than_they_allow() -> None:
    story = of_load(6)
    story.apply(scaled("1.1.0", {**SCALED, "maxReplicas": 4}))
    story.settled()

    assert story.status.reason == Reason.STABLE
    assert (
        max(e.replicas for e in story.effects if isinstance(e, ScaleDeployment) and "green" in e.deployment)
        == 4
    )


def test_the_autoscaler_of_a_worker_rests_with_it() -> None:
    def plane(version: str) -> Json:
        return spec(
            version,
            components=[api_component(version), worker_component(version, autoscaling=SCALED, replicas=3)],
        )

    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(Phase.VERIFYING)
    assert list(scalers(story)) == ["1.0.0"], "nothing is scaled yet"
    story.settled()
    assert list(scalers(story)) == ["1.1.0"]
    assert story.deployments()["worker/1.1.0"] == 3


def test_workers_whose_bounds_became_lower_are_handed_back_within_them() -> None:
    """Their version's record says more than its autoscaler leaves: to wait for that would be to wait for ever."""

    def plane(version: str, replicas: int, most: int) -> Json:
        asked = {**SCALED, "maxReplicas": most}
        worker = worker_component(version, autoscaling=asked, replicas=replicas)
        return spec(version, components=[api_component(version), worker])

    story = installed(plane("1.0.0", 4, 8))
    story.apply(plane("1.0.0", 2, 3))
    story.settled()
    story.apply(plane("1.1.0", 4, 8))
    story.until(Phase.SOAKING).wait(2)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    assert story.deployments()["worker/1.0.0"] == 3


@pytest.mark.parametrize("kept", [True, False])
def test_each_removal_is_valid_only_against_what_was_read(kept: bool) -> None:
    """A leader that was suspended with it in its hand removes nothing of what the next one made of it."""
    story = installed(scaled("1.0.0"))
    if kept:
        story.apply(scaled("1.1.0"))
    else:
        story.apply(spec("1.0.0"))
    story.settled()

    gone = [
        (effect, item)
        for effect in story.effects
        if isinstance(effect, DeleteObjects)
        for item in effect.objects
    ]
    beside_it = [(effect, item) for effect, item in gone if item[0] in KINDS]
    assert {kind for _, (kind, _) in beside_it} == set(KINDS)
    assert [item for effect, item in beside_it if item not in effect.versions] == []


def test_a_deployment_that_somebody_deletes_comes_again_as_large_as_its_load_had_made_it() -> None:
    story = of_load(6)
    [deployment] = story.kube.list("Deployment", NAMESPACE)
    story.kube.drop("Deployment", NAMESPACE, deployment["metadata"]["name"])
    story.turn()

    assert story.deployments() == {"api/1.0.0": 6}


def test_deleted_with_everything_they_go_too() -> None:
    story = installed(scaled("1.0.0", deletionPolicy="Delete"))
    story.delete()
    while not story.gone:
        story.turn()

    assert beside(story, "HorizontalPodAutoscaler") == beside(story, "PodDisruptionBudget") == {}


def test_what_a_hand_wrote_over_is_read_from_the_record() -> None:
    story = installed(scaled("1.0.0"))
    [scaler] = story.kube.list("HorizontalPodAutoscaler", NAMESPACE)
    spoilt = {"metadata": {"annotations": {names.ANNOTATION_ASKED: '{"minReplicas": "two"}'}}}
    story.kube.edit("HorizontalPodAutoscaler", NAMESPACE, scaler["metadata"]["name"], spoilt)
    story.apply(scaled("1.1.0"))
    story.until(Phase.SOAKING)

    kept = beside(story, "HorizontalPodAutoscaler")["1.0.0"]["metadata"]["annotations"]
    assert json.loads(kept[names.ANNOTATION_ASKED])["maxReplicas"] == 8


BUDGETS: list[tuple[Json | None, bool]] = [
    ({"matchLabels": {names.LABEL_RELEASE: "mc"}}, True),
    ({"matchExpressions": [{"key": names.LABEL_COMPONENT, "operator": "In", "values": ["api"]}]}, True),
    ({}, True),
    ({"matchLabels": {names.LABEL_RELEASE: "other"}}, False),
    (None, False),
]


@pytest.mark.parametrize(("selector", "refused"), BUDGETS)
def test_a_budget_of_somebody_else_over_both_colours_is_refused(selector: Json | None, refused: bool) -> None:
    story = installed(spec("1.0.0"))
    theirs: Object = {"metadata": {"name": "theirs"}, "spec": {"minAvailable": 1}}
    if selector is not None:
        theirs["spec"]["selector"] = selector
    story.kube.put("PodDisruptionBudget", NAMESPACE, theirs)
    story.apply(spec("1.1.0"))
    story.settled()

    assert not any(
        isinstance(e, DeleteObjects) and ("PodDisruptionBudget", "theirs") in e.objects for e in story.effects
    )
    if not refused:
        assert story.status.reason == Reason.STABLE
        return
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.FOREIGN_BUDGET)
    assert "PodDisruptionBudget theirs" in last.message
    assert list(story.deployments()) == ["api/1.0.0"], "nothing was made"


def test_what_the_api_server_refuses_is_refused_before_anything_runs() -> None:
    story = installed(scaled("1.0.0"))

    def said(manifest: Object) -> str | None:
        return "spec.metrics: Invalid value" if manifest["kind"] == "HorizontalPodAutoscaler" else None

    story.kube.rejects = said
    story.apply(scaled("1.1.0"))
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    assert last.reason == Reason.TEMPLATE_REJECTED
    assert "spec.components[api].autoscaling: spec.metrics: Invalid value" in last.message
