"""Services of a colour that list nobody, or that somebody takes away, at the moments when users are moved by them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.plane import BACK, FRONT, Json, by_route, http_route, pair, strictly
from tests.unit.domain.story import BAD, NAMESPACE, Story, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ApiError
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase

pytestmark = pytest.mark.story

RAMP = [{"weight": 34, "hold": "5s"}]
IN_TIME: Json = {"bringUp": "1m"}


def strict(version: str, **more: Any) -> Json:
    return pair(version, **{"traffic": strictly(), "deadlines": IN_TIME, **more})


def ramped(version: str) -> Json:
    return strict(version, traffic=strictly(ramp=RAMP))


def routed(version: str) -> Json:
    return pair(version, traffic=by_route("mc"), deadlines=IN_TIME)


def behind_a_route(plane: Callable[[str], Json]) -> Story:
    story = installed(plane("1.0.0"))
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc", FRONT))
    story.machinery.settle()
    return story


def lists_nobody(story: Story, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on what that Service leads to is not written down, as where its controller is behind."""
    monkeypatch.setattr(story.machinery, "_endpoints", lambda: None)
    [item] = [
        item
        for item in story.kube.list("EndpointSlice", NAMESPACE)
        if item["metadata"]["labels"]["kubernetes.io/service-name"] == service
    ]
    story.kube.put("EndpointSlice", NAMESPACE, {**item, "endpoints": []})


@pytest.mark.parametrize(
    ("begun", "plane", "service", "outcome"),
    [
        (installed, strict, f"{BACK}-green", Outcome.REFUSED),
        (installed, ramped, f"{BACK}-green", Outcome.ROLLED_BACK),
        (behind_a_route, routed, f"{FRONT}-green", Outcome.REFUSED),
    ],
    ids=["switched", "ramped", "by a route"],
)
def test_users_are_not_led_where_nobody_is_listed_and_that_is_waited_for_until_a_deadline(
    begun: Callable[[Any], Story],
    plane: Callable[[str], Json],
    service: str,
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = begun(plane if begun is behind_a_route else plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(Phase.SWITCHING)
    lists_nobody(story, service, monkeypatch)
    since = story.now
    story.wait(50)
    assert (story.status.phase, story.status.reason) == (Phase.SWITCHING, Reason.PROVING_ROUTING)
    assert story.upgrade.switched_at is None
    story.until(lambda: story.status.phase is not Phase.SWITCHING)

    assert story.now - since < timedelta(seconds=65)
    failure = story.upgrade.failure
    assert failure is not None
    assert (failure.reason, failure.outcome) == (Reason.ROUTING_UNPROVEN, outcome)
    assert f"spec.deadlines.bringUp: Service {service} has no ready endpoint; see that" in failure.message


def test_a_service_that_lists_the_candidate_in_time_moves_users(monkeypatch: pytest.MonkeyPatch) -> None:
    story = installed(strict("1.0.0"))
    story.apply(strict("1.1.0"))
    story.until(Phase.SWITCHING)
    with monkeypatch.context() as away:
        lists_nobody(story, f"{BACK}-green", away)
        story.wait(50)
    [pod, *_] = story.kube.list("Pod", NAMESPACE)
    story.kube.edit("Pod", NAMESPACE, pod["metadata"]["name"], {"metadata": {"annotations": {"moved": "1"}}})
    story.settled()
    assert story.serving(FRONT) == story.serving(BACK) == {"1.1.0"}


# on the way back


def soaking(**more: Any) -> Story:
    """Users are on 1.1.0, and those whose calls lack a Service of theirs are not counted here."""
    story = installed(strict("1.0.0"))
    story.apply(strict("1.1.0", soak="5m", **more))
    story.until(Phase.SOAKING).until(Reason.SOAKING)
    story.kube.witness = None
    story.invariants.transactions = Story(pair("1.0.0")).invariants.transactions
    return story


def no_more_services(story: Story) -> None:
    """A quota on Services, of which there are as many as it takes."""

    def fault(moment: Moment, write: Write) -> None:
        if (moment, write.verb, write.kind) == ("before", "create", "Service"):
            raise ApiError(403, "Forbidden", "exceeded quota: few-services")

    story.kube.fault = fault


def taken_back(story: Story) -> float:
    """Seconds until everybody is back on the former version."""
    since = story.now
    story.until(lambda: story.serving(FRONT) == {"1.0.0"})
    return (story.now - since).total_seconds()


def effects_after(story: Story, count: int) -> list[str]:
    return [effect.subject for effect in story.effects[count:]]


@pytest.mark.parametrize("service", [f"{FRONT}-blue", f"{BACK}-blue", f"{BACK}-green"])
@pytest.mark.parametrize("decided", [True, False])
def test_a_quota_on_services_holds_up_no_rollback(service: str, decided: bool) -> None:
    story = soaking()
    story.health["1.1.0"] = BAD
    if decided:
        story.until(Phase.ROLLING_BACK)
    story.kube.drop("Service", NAMESPACE, service)
    no_more_services(story)
    assert taken_back(story) < 4

    story.until(lambda: story.status.upgrade is None)
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    story.kube.fault = None
    story.settled()
    assert story.condition("Ready")[0] == "False", "1.1.0 is asked for still"
    assert (story.kube.get("Service", NAMESPACE, service) is None) is service.endswith("-green")


@pytest.mark.parametrize(
    ("begun", "plane", "service"),
    [(installed, strict, f"{BACK}-green"), (behind_a_route, routed, f"{FRONT}-green")],
    ids=["strict", "by a route"],
)
def test_nor_a_rollback_from_a_ramp(
    begun: Callable[[Any], Story], plane: Callable[..., Json], service: str
) -> None:
    led = strictly(ramp=[{"weight": 34, "hold": "5m"}])
    if begun is behind_a_route:
        led = by_route("mc", ramp=[{"weight": 34, "hold": "5m"}])
    story = begun(plane if begun is behind_a_route else plane("1.0.0"))
    story.apply({**plane("1.1.0"), "traffic": led})
    story.until(Phase.RAMPING).until(lambda: story.upgrade.took_traffic).wait(3)
    story.kube.witness = None
    story.invariants.transactions = Story(pair("1.0.0")).invariants.transactions
    story.kube.drop("Service", NAMESPACE, service)
    no_more_services(story)
    story.health["1.1.0"] = BAD
    since = story.now
    story.until(lambda: story.upgrade.switched_back_at is not None)
    assert (story.now - since).total_seconds() < 4


@pytest.mark.parametrize(("service", "first"), [(f"{BACK}-blue", True), (f"{FRONT}-blue", False)])
def test_only_what_the_former_versions_calls_need_comes_before_its_users(service: str, first: bool) -> None:
    """Its pods would look for it in vain, and remember for a while that there is none."""
    story = soaking()
    story.health["1.1.0"] = BAD
    story.until(Phase.ROLLING_BACK)
    story.kube.drop("Service", NAMESPACE, service)
    before = len(story.effects)
    story.settled()

    done = effects_after(story, before)
    [back] = [
        index
        for index, subject in enumerate(done)
        if subject.endswith((f"{FRONT},{BACK}", f"{BACK},{FRONT}"))
    ]
    assert (done.index(f"Service/{service}") < back) is first
