"""Services of components that a version does not have any more: what becomes of them, and when."""

import pytest
from tests.unit.domain.plane import (
    BACK,
    FRONT,
    Json,
    api_component,
    gateway_component,
    pair,
    spec,
    strictly,
)
from tests.unit.domain.story import BAD, NAMESPACE, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase

GATEWAY = "mc-gateway"


def both(version: str, **more: object) -> Json:
    return spec(version, components=[api_component(version), gateway_component(version)], **more)


def there(story: Story, service: str = GATEWAY) -> bool:
    return story.kube.get("Service", NAMESPACE, service) is not None


def told(story: Story) -> list[Object]:
    events = story.kube.list("Event", NAMESPACE)
    return [item for item in events if item["reason"] == Reason.CLEANING_UP and GATEWAY in item["note"]]


def test_a_service_that_a_version_does_not_have_goes_once_there_is_no_way_back_by_it() -> None:
    story = installed(both("1.0.0"))
    former = story.status.active_revision
    story.apply(spec("1.1.0", soak="1m"))
    story.until(Phase.SOAKING)
    while story.status.upgrade is not None:
        story.turn()
        assert there(story) or story.status.upgrade is None, "users may have to go back to it"
    story.settled()

    assert not there(story)
    assert there(story, "mc-api")
    [event] = told(story)
    assert event["note"] == (
        f"removing Service {GATEWAY}: 1.1.0 has none of that name, and nothing answers by it any more"
    )
    story.at_rest()

    story.change(rollbackTo=former)
    story.settled()
    assert story.serving(GATEWAY) == {"1.0.0"}, "made again with the version that has it"


def test_a_version_that_is_taken_back_leaves_it() -> None:
    story = installed(both("1.0.0"))
    story.apply(spec("1.1.0", soak="1m"))
    story.until(Phase.SOAKING).wait(3)
    story.health["1.1.0"] = BAD
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    assert story.serving(GATEWAY) == {"1.0.0"}


@pytest.mark.parametrize("whose", ["its owner's, adopted", "still in use"])
def test_what_is_not_ours_or_not_deserted_stays(whose: str) -> None:
    story = installed(both("1.0.0"))
    if whose == "still in use":
        labels = {names.LABEL_RELEASE: "mc", names.LABEL_COMPONENT: "gateway", "app": "theirs"}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        story.kube.put(
            "Pod", NAMESPACE, {"metadata": {"name": "theirs", "labels": labels, "job": "x"}, "status": ready}
        )
        story.kube.put("Job", NAMESPACE, {"metadata": {"name": "x"}, "status": {"succeeded": 1}, "spec": {}})
    else:
        made = {"metadata": {"annotations": {names.ANNOTATION_CREATED: None}}}
        story.kube.edit("Service", NAMESPACE, GATEWAY, made)
    story.apply(spec("1.1.0"))
    if whose == "still in use":
        story.until(lambda: story.status.phase is Phase.CLOSING)
        other = {
            names.LABEL_RELEASE: None,
            names.LABEL_COMPONENT: None,
            names.LABEL_REVISION: None,
            "app": "theirs",
        }
        story.kube.edit("Service", NAMESPACE, GATEWAY, {"spec": {"selector": other}})
    story.settled()

    assert story.status.active_version == "1.1.0"
    assert there(story)
    assert told(story) == []
    story.at_rest()


def test_services_of_its_colours_go_with_it() -> None:
    story = installed(pair("1.0.0", traffic=strictly()))
    alone = pair("1.1.0", traffic=strictly())
    alone["components"] = [item for item in alone["components"] if item["name"] == "front"]
    # Its template still names what it called: such calls are not looked at here.
    story.kube.witness = None
    story.invariants.transactions = Story(pair("1.0.0")).invariants.transactions
    story.apply(alone)
    story.settled()

    assert story.serving(FRONT) == {"1.1.0"}
    left = {item["metadata"]["name"] for item in story.kube.list("Service", NAMESPACE)}
    assert {name for name in left if name.startswith(BACK)} == set()
    assert {FRONT, f"{FRONT}-green"} <= left
