"""The conformance suite of traffic providers: what each of them promises, held on a cluster in memory.

A provider that is added is added to PROVIDERS, and nothing else here is to know it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import Json
from tests.unit.domain.rollouts import by_route
from tests.unit.domain.rollouts.planes import pods, ramped
from tests.unit.domain.story import BAD, NAMESPACE, Story, checkpoint, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ApiError, ConflictError
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import SwitchServices
from conductor.domain.revision import Revision
from conductor.domain.situation import Acting
from conductor.domain.snapshot import Snapshot
from conductor.domain.traffic.choice import traffic_of
from conductor.effects.make import make

pytestmark = pytest.mark.story


@dataclass(frozen=True)
class Provider:
    """One provider: a plane that it leads, and how the cluster shows where users are."""

    name: str
    spec: Callable[..., Json]
    begin: Callable[[], Story]
    #: Percent of users by version.
    led: Callable[[Story], dict[str, int]]
    #: Somebody else leads everybody to what has no users.
    revert: Callable[[Story, str], None]

    def under_way(self, goal: Phase) -> Story:
        """An upgrade in that phase; in a ramp, at its last step."""

        def tell() -> Story:
            story = self.begin()
            story.apply(self.spec("1.1.0", soak="30s"))
            story.until(goal)
            if goal is Phase.RAMPING:
                story.until(
                    lambda: story.upgrade.step_at is not None and story.upgrade.step == len(_steps(story)) - 1
                )
            return story

        return checkpoint(f"provider {self.name} {goal}", tell)


def _steps(story: Story) -> list[Json]:
    steps: list[Json] = story.release["spec"]["traffic"]["ramp"]
    return steps


def _by_pods(story: Story) -> dict[str, int]:
    service = story.kube.get("Service", NAMESPACE, "mc-api")
    assert service is not None
    found = [story.version(by_revision(pod)) for pod in story.machinery.selected(service)]
    return {version: 100 * found.count(version) // len(found) for version in set(found)}


def by_revision(pod: Json) -> str:
    return str(pod["metadata"]["labels"][names.LABEL_REVISION])


def _take_service(story: Story, revision: str) -> None:
    owned = [{"manager": "helm", "fieldsV1": {"f:spec": {"f:selector": {}}}}]
    selector = {names.LABEL_SERVING: None, names.LABEL_REVISION: revision}
    change = {"metadata": {"managedFields": owned}, "spec": {"selector": selector}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)


def _take_route(story: Story, revision: str) -> None:
    colours = {story.upgrade.from_revision: "blue", story.upgrade.to_revision: "green"}
    by_route.lead_by(story, f"mc-api-{colours[revision]}")


PROVIDERS = (
    Provider("Service", ramped, lambda: installed(ramped("1.0.0")), _by_pods, _take_service),
    Provider("GatewayAPI", by_route.routed, by_route.behind_a_route, by_route.led, _take_route),
)


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest) -> Provider:
    found: Provider = request.param
    return found


def seen(story: Story) -> tuple[Snapshot, Revision, Revision]:
    story.machinery.tick(story.now)
    s = story.observe()
    return s, s.revisions[story.upgrade.from_revision], s.revisions[story.upgrade.to_revision]


def test_shares_rise_step_by_step_and_never_above_what_was_asked_for(provider: Provider) -> None:
    story = provider.begin()
    story.apply(provider.spec("1.1.0"))
    story.until(Phase.VERIFYING)
    seen_shares: list[int] = []
    while story.status.upgrade is not None:
        story.turn()
        share = provider.led(story).get("1.1.0", 0)
        if story.status.phase is Phase.RAMPING:
            assert share <= _steps(story)[min(story.upgrade.step, len(_steps(story)) - 1)]["weight"]
        if share not in seen_shares:
            seen_shares.append(share)
        status = story.status.traffic
        if story.status.reason == Reason.RAMPING and story.upgrade.step_at is not None:
            assert (status.blue, status.green) == (100 - share, share)
    assert seen_shares == [0, *(step["weight"] for step in _steps(story)), 100]
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.SUCCEEDED


def test_what_is_in_force_is_read_from_the_cluster(provider: Provider) -> None:
    story = provider.under_way(Phase.RAMPING)
    s, from_, to = seen(story)
    assert traffic_of(s).share(from_, to) == provider.led(story)["1.1.0"]
    story.until(Phase.SOAKING)
    s, from_, to = seen(story)
    assert traffic_of(s).share(from_, to) == 100


def test_a_share_that_is_in_force_asks_for_nothing(provider: Provider) -> None:
    story = provider.under_way(Phase.RAMPING)
    s, from_, to = seen(story)
    traffic, percent = traffic_of(s), _steps(story)[-1]["weight"]
    assert traffic.weigh(from_, to, percent) is None
    assert traffic.weight_gap(from_, to) is None
    assert not traffic.leads_only_to(from_)
    assert not traffic.leads_only_to(to)
    assert traffic.may_lead_to(from_)
    assert traffic.may_lead_to(to)


def test_plans_are_functions_of_the_snapshot(provider: Provider) -> None:
    story = provider.begin()
    story.apply(provider.spec("1.1.0"))
    story.until(Phase.RAMPING)
    s, from_, to = seen(story)
    assert isinstance(traffic_of(s).weigh(from_, to, 50), Acting)
    assert traffic_of(s).weigh(from_, to, 50) == traffic_of(s).weigh(from_, to, 50)
    assert traffic_of(s).switch_to(to) == traffic_of(s).switch_to(to)


def test_a_switch_leads_everybody_there_and_can_be_taken_back(provider: Provider) -> None:
    story = provider.under_way(Phase.RAMPING)
    for version in ("1.1.0", "1.0.0", "1.1.0"):
        s, from_, to = seen(story)
        target = to if version == "1.1.0" else from_
        make(story.kube, NAMESPACE, "mc", traffic_of(s).switch_to(target))
        assert provider.led(story) == {version: 100}
        s, from_, to = seen(story)
        assert traffic_of(s).leads_only_to(to if version == "1.1.0" else from_)
        assert not traffic_of(s).may_lead_to(from_ if version == "1.1.0" else to)
        assert traffic_of(s).routing_gap(target) is None


def test_a_switch_that_fails_half_way_leaves_everything_as_it_was(provider: Provider) -> None:
    story = provider.under_way(Phase.RAMPING)
    s, _, to = seen(story)
    switch, before = traffic_of(s).switch_to(to), provider.led(story)
    written = len(switch.patches) + len(switch.routes)

    class Last:
        left = written

        def __call__(self, moment: Moment, write: Write) -> None:
            if moment == "before" and not write.dry_run:
                self.left -= 1
                if self.left == 0:
                    raise ApiError(500, "InternalError", "etcd is away")

    story.kube.fault = Last()
    with pytest.raises(ApiError, match="etcd is away"):
        make(story.kube, NAMESPACE, "mc", switch)
    story.kube.fault = None
    assert provider.led(story) == before


@pytest.mark.parametrize("phase", [Phase.RAMPING, Phase.SOAKING])
def test_the_first_thing_that_a_rollback_does_takes_everybody_back(provider: Provider, phase: Phase) -> None:
    story = provider.under_way(phase)
    before = len(story.effects)
    story.health["1.1.0"] = BAD
    story.until(Phase.ROLLING_BACK).until(lambda: len(story.effects) > before)
    [effect] = story.effects[before:]
    assert isinstance(effect, SwitchServices)
    assert provider.led(story) == {"1.0.0": 100}
    story.settled().at_rest()
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    assert provider.led(story) == {"1.0.0": 100}


def test_users_are_never_taken_back_to_nothing(provider: Provider) -> None:
    story = provider.under_way(Phase.SOAKING)
    pods(story, "1.0.0", Behaviour(ready=False), "lose their readiness")
    story.health["1.1.0"] = BAD
    story.until(Phase.ROLLING_BACK).until(Reason.TARGET_NOT_READY).wait(40)
    assert provider.led(story) == {"1.1.0": 100}
    assert story.condition("Stalled")[0] == "True"


def test_somebody_elses_hand_is_answered_twice_and_then_left_to_people(provider: Provider) -> None:
    story = provider.under_way(Phase.SOAKING)
    old = story.upgrade.from_revision
    for _ in range(2):
        provider.revert(story, old)
        story.wait(3)
        assert provider.led(story) == {"1.1.0": 100}
    provider.revert(story, old)
    story.wait(3)
    assert story.condition("Stalled") == ("True", Reason.TRAFFIC_REVERTED)
    assert "helm" in story.status.message
    assert provider.led(story) == {"1.0.0": 100}
    assert story.deployments()["api/1.0.0"] > 0


def test_a_leader_that_was_suspended_moves_nobody_any_more(provider: Provider) -> None:
    story = provider.under_way(Phase.RAMPING)
    s, _, to = seen(story)
    held = traffic_of(s).switch_to(to)
    before = provider.led(story)
    story.epoch += 1
    story.turn()
    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, "mc", held)
    assert provider.led(story) == before


def test_nothing_is_written_at_rest(provider: Provider) -> None:
    story = provider.begin()
    story.settled().at_rest()
    story.apply(provider.spec("1.1.0"))
    story.settled().at_rest()
    assert provider.led(story) == {"1.1.0": 100}


def test_users_are_led_by_what_was_named_although_the_spec_changes_meanwhile(provider: Provider) -> None:
    """Another provider, routes and all, is the next upgrade's matter."""
    story = provider.under_way(Phase.RAMPING)
    other = next(item for item in PROVIDERS if item != provider)
    story.change(traffic=other.spec("1.1.0")["traffic"])
    story.settled()
    assert provider.led(story) == {"1.1.0": 100}
    assert story.status.traffic.routes == ()
