"""Upgrades that are refused: no user meets the new version, blue is untouched, the mend is named."""

from typing import Any

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import api_component, spec, traffic
from tests.unit.domain.story import BAD, BROKEN, NAMESPACE, SILENT, SLOW, Health, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import SwitchServices
from conductor.observe.room import RoomReader

IMAGE = "localhost/mc:1.1.0"


def try_upgrade(story: Story, wanted: Object | None = None) -> Story:
    story.apply(wanted or spec("1.1.0"))
    return story.settled()


def refused(story: Story, reason: Reason, *words: str) -> None:
    """Blue serves as before, nothing of the candidate is left, the reason and the mend are told."""
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, reason), last.message
    for word in words:
        assert word in last.message
    assert not any(isinstance(effect, SwitchServices) for effect in story.effects)
    assert story.deployments() == {"api/1.0.0": 3}
    assert story.serving() == {"1.0.0"}
    assert story.status.traffic.current is Colour.BLUE
    assert story.status.phase is Phase.STABLE
    assert story.condition("Stalled") == ("True", Reason.ROLLED_BACK)
    assert story.condition("Ready")[0] == "False"
    story.at_rest()


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (BAD, "5.00% of 1000 requests failed, the limit is 1%"),
        (SLOW, "p95 is 1500 ms, the limit is 900 ms"),
    ],
)
def test_a_version_that_breaks_a_limit_under_verification_load(health: Health, words: str) -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = health
    refused(try_upgrade(story), Reason.UNHEALTHY, "1.1.0 is not healthy", words)


def test_a_version_whose_answers_are_wrong() -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = SILENT
    story.wrong_answers.add("1.1.0")
    refused(
        try_upgrade(story), Reason.UNHEALTHY, "spec.verification.http", "mc-api-preview", "another version"
    )


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (SILENT, "no requests of this revision"),
        (Health(requests=100), "100 of the 688 requests that a verdict needs"),
        (Health(p95_ms=None), "no latency"),
        (BROKEN, "spec.metrics.prometheus.url: http://prometheus.monitoring.svc:9090 does not answer"),
    ],
)
def test_without_evidence_nothing_goes_forward_and_the_deadline_refuses(health: Health, words: str) -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = health
    story.apply(spec("1.1.0", deadlines={"verify": "3m"}))
    story.until(Phase.VERIFYING).long_after(minutes=2)
    assert story.status.phase is Phase.VERIFYING
    assert story.condition("Healthy")[0] == "Unknown"
    refused(story.settled(), Reason.VERIFY_DEADLINE, "spec.deadlines.verify", words)


@pytest.mark.parametrize(
    ("behaviour", "reason", "words"),
    [
        (
            Behaviour(waiting="ErrImagePull"),
            Reason.IMAGE_UNAVAILABLE,
            f"spec.components[api].template.spec.containers[].image: {IMAGE} cannot be pulled",
        ),
        (
            Behaviour(unschedulable="0/3 nodes are available: 3 Insufficient cpu."),
            Reason.UNSCHEDULABLE,
            "Insufficient cpu",
        ),
        (Behaviour(waiting="CrashLoopBackOff", restarts=2), Reason.CRASH_LOOPING, "--previous"),
        (Behaviour(ready=False, restarts=3), Reason.CRASH_LOOPING, "ended 3 times"),
        (Behaviour(ready=False), Reason.BRING_UP_DEADLINE, "spec.deadlines.bringUp"),
    ],
)
def test_pods_that_do_not_come_up(behaviour: Behaviour, reason: Reason, words: str) -> None:
    story = installed(spec("1.0.0"))
    story.machinery.behaviours[IMAGE] = behaviour
    refused(try_upgrade(story, spec("1.1.0", deadlines={"bringUp": "1m"})), reason, words)


def test_an_image_gets_half_a_minute_before_it_is_given_up() -> None:
    story = installed(spec("1.0.0"))
    story.machinery.behaviours[IMAGE] = Behaviour(waiting="ErrImagePull")
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP).wait(20)
    story.machinery.behaviours[IMAGE] = Behaviour()
    story.settled()

    assert story.status.active_version == "1.1.0"


def test_a_crash_loop_in_verification_is_refused() -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = SILENT
    story.apply(spec("1.1.0"))
    story.until(Phase.VERIFYING)
    story.machinery.behaviours[IMAGE] = Behaviour(waiting="CrashLoopBackOff", restarts=1)
    refused(story.settled(), Reason.CRASH_LOOPING)


def foreign_service(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"selector": {"app": "other"}, "ports": []}}


@pytest.mark.parametrize("name", ["mc-gateway", "mc-gateway-preview"])
def test_a_service_that_somebody_else_made_is_not_touched(name: str) -> None:
    story = installed(spec("1.0.0"))
    theirs = story.kube.put("Service", NAMESPACE, foreign_service(name))
    component = api_component("1.1.0")
    component["services"].append({"name": "mc-gateway", "ports": [{"name": "web", "port": 443}]})
    try_upgrade(story, spec("1.1.0", components=[component]))

    words = f"spec.components[api].services[].name: Service {name} was not made by this operator; choose another name"
    refused(story, Reason.FOREIGN_SERVICE, words)
    assert story.kube.get("Service", NAMESPACE, name) == theirs


def test_a_service_that_would_take_in_the_candidate_by_accident() -> None:
    story = installed(spec("1.0.0"))
    component = api_component("1.1.0")
    component["template"].setdefault("metadata", {}).setdefault("labels", {})["app"] = "other"
    theirs = story.kube.put("Service", NAMESPACE, foreign_service("by-accident"))
    try_upgrade(story, spec("1.1.0", components=[component]))

    words = "spec.components[api].template.metadata.labels: Service by-accident of somebody else selects app=other"
    refused(story, Reason.FOREIGN_SERVICE, words)
    assert story.kube.get("Service", NAMESPACE, "by-accident") == theirs


def test_a_service_of_another_release_is_not_shared() -> None:
    story = installed(spec("1.0.0"))
    theirs = foreign_service(
        "mc-gateway", **{names.LABEL_RELEASE: "other", names.LABEL_ROLE: names.ROLE_SERVING}
    )
    stored = story.kube.put("Service", NAMESPACE, theirs)
    component = api_component("1.1.0")
    component["services"].append({"name": "mc-gateway", "ports": [{"name": "web", "port": 443}]})
    try_upgrade(story, spec("1.1.0", components=[component]))

    refused(story, Reason.FOREIGN_SERVICE, "belongs to release other")
    assert story.kube.get("Service", NAMESPACE, "mc-gateway") == stored


def test_a_config_map_that_is_not_there_is_named() -> None:
    story = installed(spec("1.0.0"))
    component = api_component("1.1.0")
    component["template"]["spec"]["volumes"] = [{"name": "settings", "configMap": {"name": "mc-settings"}}]
    wanted = spec("1.1.0", components=[component])
    refused(
        try_upgrade(story, wanted),
        Reason.CONFIG_MISSING,
        "ConfigMap mc-settings does not exist in namespace prod",
    )


def test_a_config_map_is_pinned_for_the_revision_and_the_traffic_one_stays_live() -> None:
    story = installed(spec("1.0.0"))
    story.kube.put("ConfigMap", NAMESPACE, {"metadata": {"name": "mc-settings"}, "data": {"depth": "1"}})
    component = api_component("1.1.0")
    container = component["template"]["spec"]["containers"][0]
    container["envFrom"] = [
        {"configMapRef": {"name": "mc-settings"}},
        {"configMapRef": {"name": "mc-traffic"}},
    ]
    try_upgrade(story, spec("1.1.0", components=[component]))
    story.kube.edit("ConfigMap", NAMESPACE, "mc-settings", {"data": {"depth": "2"}})
    story.at_rest()

    pinned = story.kube.get("ConfigMap", NAMESPACE, f"mc-settings-{story.status.active_revision}")
    assert pinned is not None
    assert (pinned["data"], pinned["immutable"]) == ({"depth": "1"}, True)
    [green] = [d for d in story.kube.list("Deployment", NAMESPACE) if "-green-" in d["metadata"]["name"]]
    sources = green["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert [source["configMapRef"]["name"] for source in sources] == [
        pinned["metadata"]["name"],
        "mc-traffic",
    ]


def test_a_grace_period_that_ends_before_the_drain() -> None:
    story = installed(spec("1.0.0"))
    component = api_component("1.1.0")
    component["template"]["spec"]["terminationGracePeriodSeconds"] = 20
    wanted = spec("1.1.0", components=[component], preStopHook={"enabled": True, "drainSeconds": 20})
    words = "terminationGracePeriodSeconds: 20 is not longer than preStopHook.drainSeconds 20; raise it to at least 35"
    refused(try_upgrade(story, wanted), Reason.GRACE_TOO_SHORT, words)


def test_a_template_that_the_api_server_rejects() -> None:
    story = installed(spec("1.0.0"))
    said = "unknown field spec.template.spec.containrs"
    story.kube.rejects = lambda manifest: said if manifest["kind"] == "Deployment" else None
    refused(try_upgrade(story), Reason.TEMPLATE_REJECTED, "spec.components[api].template: unknown field")


def test_a_failed_spec_is_remembered_until_it_changes() -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = BAD
    try_upgrade(story)
    first = story.status.last_upgrade
    story.apply(spec("1.1.0", soak="20s"))
    story.settled().long_after(minutes=10)
    assert story.status.last_upgrade == first, "what does not run differently is not tried again"
    assert "change what runs, or mend that and annotate" in story.status.message

    try_upgrade(story, spec("1.1.1"))
    assert story.status.active_version == "1.1.1"
    assert story.condition("Stalled")[0] == "False"


def test_a_retry_tries_the_same_spec_once_more_and_only_once() -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = BAD
    try_upgrade(story)
    assert story.status.last_upgrade is not None
    story.annotate(names.ANNOTATION_RETRY, story.status.last_upgrade.id)
    story.settled()
    assert story.status.sequence == 3
    story.at_rest()

    story.health.clear()
    story.annotate(names.ANNOTATION_RETRY, story.status.last_upgrade.id)
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_going_back_to_the_serving_spec_clears_the_failure() -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = BAD
    try_upgrade(story)
    story.apply(spec("1.0.0"))
    story.settled()

    assert story.condition("Stalled")[0] == "False"
    assert story.condition("Ready")[0] == "True"
    assert story.status.failed_digest == ""


def test_bad_input_never_reaches_the_cluster() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1"))
    story.settled()

    assert story.condition("Stalled") == ("True", Reason.INVALID_SPEC)
    assert story.status.message.startswith(
        'spec.version: "1.1" is not a semantic version; write MAJOR.MINOR.PATCH'
    )
    assert story.effects == []
    story.at_rest()


def test_a_first_install_that_fails_leaves_nothing_and_waits_for_a_better_spec() -> None:
    story = Story(spec("1.0.0", traffic=traffic(configMap="mc-traffic")))
    story.health["1.0.0"] = BAD
    story.settled()
    assert story.status.phase is Phase.PENDING
    assert story.deployments() == {}
    assert story.condition("Stalled")[0] == "True"
    story.at_rest()

    story.apply(spec("1.0.1"))
    story.settled()
    assert story.serving() == {"1.0.1"}


def with_room(story: Story, cpu: str, quota: str = "") -> Story:
    """The one node with so much to give, a quota on the namespace, and an operator that may read both."""
    story.kube.edit("Node", "", "one", {"status": {"allocatable": {"cpu": cpu}}})
    if quota:
        hard = {"hard": {"requests.cpu": quota}, "used": {"requests.cpu": "0"}}
        story.kube.put("ResourceQuota", NAMESPACE, {"metadata": {"name": "team"}, "status": hard})

    def seconds() -> float:
        return story.now.timestamp()

    story.rooms = RoomReader(story.kube, seconds)
    return story


def asking(version: str, cpu: str, **surge: str) -> Object:
    wanted = spec(version)
    wanted["components"][0]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return {**wanted, **({"surge": surge} if surge else {})}


def test_a_candidate_that_only_half_fits_is_not_begun() -> None:
    story = try_upgrade(with_room(installed(spec("1.0.0")), cpu="1"), asking("1.1.0", "400m"))
    refused(story, Reason.NO_ROOM, "1 of 3 pods of 400m cpu find no node", "spec.surge.nodes: OnDemand")
    assert Phase.BRINGING_UP not in story.phases[story.phases.index(Phase.PREFLIGHT) :]


def test_room_that_comes_later_is_looked_for_on_a_persons_word_and_they_are_told_so() -> None:
    story = try_upgrade(with_room(installed(spec("1.0.0")), cpu="1"), asking("1.1.0", "400m"))
    last = story.status.last_upgrade
    assert last is not None
    word = f"{names.ANNOTATION_RETRY}={last.id}"
    said = (
        f"nothing looks for room again by itself: once there is some, annotate {word}, or change the template"
    )
    [event] = [item for item in story.kube.list("Event", NAMESPACE) if item["reason"] == Reason.NO_ROOM]
    assert said in event["note"]
    assert said in story.status.message
    assert story.status.message.count(word) == 1

    story.kube.edit("Node", "", "one", {"status": {"allocatable": {"cpu": "64"}}})
    story.long_after(10)
    assert story.status.active_version == "1.0.0"
    story.annotate(names.ANNOTATION_RETRY, last.id)
    assert story.settled().status.active_version == "1.1.0"


def test_nodes_that_come_on_demand_are_not_counted() -> None:
    story = with_room(installed(spec("1.0.0")), cpu="1")
    story.apply(asking("1.1.0", "400m", nodes="OnDemand"))
    assert story.settled().status.active_version == "1.1.0"


def test_a_quota_is_counted_wherever_nodes_come_from() -> None:
    story = with_room(installed(spec("1.0.0")), cpu="64", quota="1")
    refused(
        try_upgrade(story, asking("1.1.0", "400m", nodes="OnDemand")),
        Reason.NO_ROOM,
        "need 1200m of requests.cpu, and ResourceQuota team leaves 1 of 1",
    )


def test_pods_on_their_way_out_are_waited_for() -> None:
    story = with_room(installed(spec("1.0.0")), cpu="2")
    leaving = {"name": "other", "namespace": "else", "deletionTimestamp": "2026-03-01T00:00:00Z"}
    takes = {"nodeName": "one", "containers": [{"resources": {"requests": {"cpu": "1500m"}}}]}
    story.kube.put("Pod", "else", {"metadata": leaving, "spec": takes, "status": {"phase": "Running"}})
    story.apply(asking("1.1.0", "400m"))
    story.until(Reason.WAITING_FOR_ROOM)
    story.kube.drop("Pod", "else", "other")
    assert story.settled().status.active_version == "1.1.0"


def test_room_that_another_upgrade_holds_is_waited_for() -> None:
    story = with_room(installed(spec("1.0.0")), cpu="2")
    takes = {"nodeName": "one", "containers": [{"resources": {"requests": {"cpu": "700m"}}}]}
    for name in ("blue", "green"):
        labels = {names.LABEL_RELEASE: "other", names.LABEL_COMPONENT: "web", names.LABEL_REVISION: name}
        other = {"name": f"other-{name}", "namespace": "else", "labels": labels}
        story.kube.put("Pod", "else", {"metadata": other, "spec": takes, "status": {"phase": "Running"}})
    story.apply(asking("1.1.0", "400m"))
    story.until(Reason.WAITING_FOR_ROOM)
    story.kube.drop("Pod", "else", "other-blue")
    assert story.settled().status.active_version == "1.1.0"
