"""Nodes whose proxies stand still: their clients reach the losing pods, so none of these goes before they follow."""

from datetime import timedelta

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import Story, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import DeleteObjects, DeletePods, ScaleDeployment
from conductor.domain.nodes import UNREADY_PATIENCE, question, unless_followed
from conductor.domain.routing import PROXY_SETTLE
from conductor.domain.snapshot import NodeSample, NodeState, Snapshot

FOLLOWS = {"node-1": "", "node-2": ""}
STANDS_STILL = {"node-1": "", "node-2": "still shows an earlier state"}


def upgrading(nodes: dict[str, str]) -> Story:
    story = installed(spec("1.0.0"))
    story.nodes = nodes
    story.apply(spec("1.1.0"))
    return story


def taken_away(story: Story) -> list[str]:
    """Every effect that ends a pod of 1.0.0 (or of the version that is left, on the way back)."""
    return [
        effect.name
        for effect in story.effects
        if isinstance(effect, DeletePods)
        or (isinstance(effect, ScaleDeployment) and effect.replicas == 0)
        or (isinstance(effect, DeleteObjects) and any(kind == "Deployment" for kind, _ in effect.objects))
    ]


def moment(story: Story) -> Snapshot:
    """The last snapshot: of the moment before the last effect."""
    story.turn()
    assert story.snapshot is not None
    return story.snapshot


def test_no_pod_of_the_old_colour_goes_while_a_node_stands_still() -> None:
    story = upgrading(STANDS_STILL).until(Phase.SOAKING).wait(3)
    assert story.status.reason == Reason.SHEDDING, "what every proxy may take is no news"
    story.wait(60)

    assert story.status.phase is Phase.SOAKING
    assert story.status.reason == Reason.NODES_BEHIND
    assert "node-2 (still shows an earlier state)" in story.status.message
    assert taken_away(story) == []
    assert story.deployments() == {"api/1.0.0": 3, "api/1.1.0": 3}
    assert story.condition("RollbackWindowOpen")[0] == "True"
    assert story.condition("Stalled")[0] == "False"

    story.long_after(minutes=10)
    assert story.condition("Stalled") == ("True", "NodesBehind")
    assert f"{names.LABEL_NODE_PROOF}=ignore" in story.status.message
    assert taken_away(story) == []

    story.nodes = FOLLOWS
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3}


def test_nodes_that_follow_cost_no_time() -> None:
    unasked = installed(spec("1.0.0"))
    unasked.apply(spec("1.1.0"))
    asked = upgrading(FOLLOWS)
    assert asked.settled().log == unasked.settled().log


def test_a_rollback_moves_traffic_at_once_and_keeps_the_pods_that_a_node_still_uses() -> None:
    story = upgrading(FOLLOWS).until(Reason.SOAKING)
    before = len(taken_away(story))
    story.nodes = STANDS_STILL
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(Reason.NODES_BEHIND).wait(60)

    assert story.status.phase is Phase.ROLLING_BACK
    assert story.serving() == {"1.0.0"}
    assert story.upgrade.switched_back_at is not None
    assert story.upgrade.decided_at is not None
    assert story.upgrade.switched_back_at - story.upgrade.decided_at < timedelta(seconds=1)
    assert len(taken_away(story)) == before
    assert story.deployments()["api/1.1.0"] == 3

    story.nodes = FOLLOWS
    story.settled()
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    assert story.deployments() == {"api/1.0.0": 3}


def test_an_operator_that_comes_in_the_closing_asks_again() -> None:
    story = upgrading(FOLLOWS).until(Phase.CLOSING)
    story.nodes = STANDS_STILL
    story.wait(5)

    assert story.status.reason == Reason.NODES_BEHIND
    assert story.deployments()["api/1.0.0"] == 3


def test_the_nodes_are_asked_once_no_service_lists_a_losing_pod() -> None:
    story = upgrading(FOLLOWS).until(Phase.SOAKING)
    s = moment(story)
    assert question(s).startswith(f"{story.upgrade.id}/{story.upgrade.from_revision}/")
    listed = tuple(s.endpoints["mc-api"])
    (losing, *_) = [pod for pod in s.pods if pod.revision == story.upgrade.from_revision]
    stale = {**s.endpoints, "mc-api": (*listed, type(listed[0])(losing.name, ready=False))}
    assert question(replaced(s, endpoints=stale)) == ""
    assert question(replaced(s, services={})) == ""
    switched_at = story.upgrade.switched_at
    assert switched_at is not None
    assert question(replaced(s, now=switched_at + timedelta(seconds=0.1))) == ""


def test_nodes_are_asked_again_after_somebody_sent_users_back_in_the_soak() -> None:
    story = upgrading(FOLLOWS)
    story.apply(spec("1.1.0", soak="60s"))
    story.until(lambda: story.status.reason == Reason.SOAKING)
    asked, switched_at = question(moment(story)), story.upgrade.switched_at
    gone_before = len(taken_away(story))
    story.nodes = STANDS_STILL
    selector = {names.LABEL_REVISION: story.upgrade.from_revision}
    story.kube.edit("Service", "prod", "mc-api", {"spec": {"selector": selector}})
    story.turn()
    assert story.serving() == {"1.1.0"}, "pointed back at once"
    story.wait(30)

    assert question(moment(story)) not in ("", asked)
    assert story.status.reason == Reason.NODES_BEHIND
    assert len(taken_away(story)) == gone_before
    assert switched_at is not None
    assert story.upgrade.switched_at is not None
    assert story.upgrade.switched_at > switched_at, "the window begins again: users were away meanwhile"

    story.nodes = FOLLOWS
    story.until(lambda: story.status.reason == Reason.SOAKING)
    assert len(taken_away(story)) > gone_before, "connections that came to the standby meanwhile are shed"
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_nothing_is_asked_of_nodes_at_rest_and_before_the_switch() -> None:
    story = upgrading(FOLLOWS).until(Phase.VERIFYING)
    assert question(moment(story)) == ""
    story.settled()
    assert question(moment(story)) == ""


@pytest.mark.parametrize("minutes_unready", [0, 4, 6])
def test_a_node_that_kubernetes_has_given_up_is_not_waited_for(minutes_unready: int) -> None:
    s, story = soaking()
    losing = s.revisions[story.upgrade.from_revision]
    since = s.now - timedelta(minutes=minutes_unready)
    away = NodeState("node-2", follows=False, seen="no answer through it", unready_since=since)
    held = unless_followed(replaced(s, nodes=sample(s, away)), losing, Reason.SHEDDING)
    assert (held is None) == (timedelta(minutes=minutes_unready) >= UNREADY_PATIENCE)


def test_an_answer_to_another_question_says_nothing() -> None:
    s, story = soaking()
    losing = s.revisions[story.upgrade.from_revision]
    old = NodeSample("u0/other", s.now, usable=True, nodes=(NodeState("node-1", follows=True),))
    held = unless_followed(replaced(s, nodes=old), losing, Reason.SHEDDING)
    assert held is not None
    assert held.reason is Reason.SHEDDING


def test_where_nodes_cannot_be_asked_time_has_to_do() -> None:
    s, story = soaking()
    losing = s.revisions[story.upgrade.from_revision]
    closed = NodeSample("", s.now, usable=False)
    assert unless_followed(replaced(s, nodes=closed), losing, Reason.SHEDDING) is None
    switched_at = story.upgrade.switched_at
    assert switched_at is not None
    early = replaced(s, nodes=closed, now=switched_at + PROXY_SETTLE / 2)
    assert unless_followed(early, losing, Reason.SHEDDING) is not None


def soaking() -> tuple[Snapshot, Story]:
    """A moment of the soak in which nodes have to be heard."""
    story = upgrading(FOLLOWS).until(Phase.SOAKING).wait(3)
    return moment(story), story


def sample(s: Snapshot, *nodes: NodeState) -> NodeSample:
    return NodeSample(question(s), s.now, usable=True, nodes=nodes)


def replaced(s: Snapshot, **changes: object) -> Snapshot:
    return type(s)(**{**vars(s), **changes})
