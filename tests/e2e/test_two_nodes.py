"""Two nodes, and one of them fails: its kube-proxy stands still or is gone, or its kubelet (docs/faults.md, part 5).

Needs the local way with MC_NODES=2: `make chaos-nodes`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster import leftovers
from cluster.images import deliver
from cluster.interface import Cluster, select
from cluster.local import LocalCluster
from harness import operator_install, podinfo
from harness.asking import asking_job, web
from harness.kube import Kube, Object
from harness.load_run import HOSTNAME_LABEL, LoadRun
from harness.load_summary import LoadSummary
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.shedapp import DRAIN_IMAGE
from harness.waiting import condition_of, wait_available, wait_condition, wait_for_object, wait_for_objects

#: The operator, Prometheus and CoreDNS are on the first node, the fault is always on the second.
NEAR, FAR = "node-1", "node-2"
OPTIONS = PodinfoOptions(replicas=4, soak="5s", window="10s")
#: Long enough that no soak ends by itself.
LONG_SOAK = PodinfoOptions(replicas=4, soak="30m", window="10s")
MISS_RATE = 0.05
PATIENCE_SECONDS = 240.0
PULLING = "maestro-conductor.io/role=pre-pull"
#: Kubernetes calls a node not ready after 50 s without a word from its kubelet.
NODE_GRACE_SECONDS = 90.0
#: So long the fault has to change nothing.
HELD_SECONDS = 20
#: Each request over a connection of its own, because that is what a node's rules decide on. What podinfo loses by
#: closing kept connections is no node's doing.
USERS = {"keep_alive_clients": 0, "one_shot_clients": 20, "rate": 60}

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.two_nodes, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def duo(kube: Kube) -> Cluster:
    """The cluster of these tests, as whoever can stop its nodes' programs."""
    cluster = select()
    ours = cluster.environment()["KUBECONFIG"]
    nodes = [node["metadata"]["name"] for node in kube.objects("Node")]
    if nodes != [NEAR, FAR] or ours != os.environ["KUBECONFIG"]:
        pytest.fail(
            f"{os.environ['KUBECONFIG']} has nodes {nodes}, and {ours} is the cluster whose programs can be"
            " stopped: run `make chaos-nodes`"
        )
    return cluster


@pytest.fixture(scope="module")
def near_operator(kube: Kube, duo: Cluster) -> None:
    """The operator where nothing fails: on the other node it would refuse what its own data path does not show."""
    operator_install.install(
        kube, values=(f"nodeSelector.{HOSTNAME_LABEL.replace('.', chr(92) + '.')}={NEAR}",)
    )


@pytest.fixture(autouse=True)
def _both_nodes_are_well(kube: Kube, duo: Cluster) -> Iterator[None]:
    yield
    for component in ("kube-proxy", "kubelet"):
        duo.start_component(FAR, component)
    wait_condition(kube, "Node", FAR, "", "Ready", deadline_seconds=NODE_GRACE_SECONDS)


@contextmanager
def fault(cluster: Cluster, component: str, *, end: bool = False) -> Iterator[Callable[[], None]]:
    """A program of the second node stands still or is gone, until the block calls what it is given, or ends."""
    cluster.stop_component(FAR, component, end=end)
    try:
        yield lambda: cluster.start_component(FAR, component)
    finally:
        cluster.start_component(FAR, component)


def spec_of(version: str, options: PodinfoOptions = OPTIONS, **at: Any) -> dict[str, Any]:
    return changed(podinfo.release_spec(version, options), traffic__switchHealth__missRate=MISS_RATE, **at)


def on_node(node: str) -> dict[str, Any]:
    return {"components__0__template__spec__nodeSelector": {HOSTNAME_LABEL: node}}


def installed(kube: Kube, place: str, **at: Any) -> Release:
    release = Release(kube, place, podinfo.NAME)
    release.apply(spec_of(OLD_VERSION, **at))
    release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
    return release


def users_on(release: Release, node: str) -> LoadRun:
    plan = podinfo.load_plan(release.namespace, node=node, **USERS)
    return LoadRun(release.kube, plan, name=f"users-{node}")


def pods_of(release: Release, version: str) -> list[Object]:
    found = release.kube.objects("Pod", release.namespace, labels=f"app={podinfo.NAME}")
    return [pod for pod in found if pod["spec"]["containers"][0]["image"] == podinfo.image(version)]


def staying(pods: list[Object]) -> set[str]:
    """UIDs of the pods that nobody has told to go."""
    return {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def places(pods: list[Object]) -> set[str]:
    return {pod["spec"]["nodeName"] for pod in pods}


def wait_reason(release: Release, phase: str, reason: str, *, says: str = "") -> str:
    """Wait for both, and for words in the message; answers the message."""

    def so(item: Object) -> bool:
        status = item["status"]
        found = (status.get("phase"), status.get("reason"))
        return found == (phase, reason) and says in status.get("message", "")

    item = release.wait(so, what=f"{phase}: {reason}: {says}", deadline_seconds=PATIENCE_SECONDS)
    return str(item["status"]["message"])


def wait_shed(release: Release) -> None:
    """Wait until no pod of the former colour has had users, and only time keeps the window open."""
    release.wait(
        lambda item: item["status"].get("message", "").endswith("rollback window open"),
        what="the end of shedding", deadline_seconds=PATIENCE_SECONDS,
    )  # fmt: skip
    wait_for_objects(
        release.kube, "Pod", release.namespace, lambda pods: len(staying(pods)) == len(pods),
        labels=f"app={podinfo.NAME}", what="no pod on its way out", deadline_seconds=PATIENCE_SECONDS,
    )  # fmt: skip


def wait_more(users: LoadRun, seconds: int = HELD_SECONDS) -> None:
    """Let the users make as many requests as they make in that time."""
    so_far = users.latest()
    assert so_far is not None
    users.wait_requests(so_far.requests + seconds * USERS["rate"], deadline_seconds=3.0 * seconds + 30)


def second_versions(users: LoadRun) -> set[str]:
    latest = users.latest()
    return set(latest.second_versions) if latest else set()


def assert_nobody_lost_anything(*summaries: LoadSummary) -> None:
    for summary in summaries:
        assert not summary.faults(), summary.line()


def test_pods_of_both_nodes_answer_through_a_service_on_both_nodes(kube: Kube, duo: Cluster) -> None:
    with namespace(kube, "web") as place:
        kube.apply_all(web(4), namespace=place)
        wait_available(kube, "web", place)
        pods = kube.objects("Pod", place, labels=f"app={podinfo.NAME}")
        assert places(pods) == {NEAR, FAR}
        for node in (NEAR, FAR):
            name = f"ask-{node}"
            kube.apply_all([asking_job(place, 4, name=name, node=node)], namespace=place)
            wait_condition(kube, "Job", name, place, "Complete")
            (asker,) = kube.objects("Pod", place, labels=f"app={name}")
            assert asker["spec"]["nodeName"] == node
            answered = json.loads(kube.log(asker["metadata"]["name"], place))
            assert answered == sorted(pod["metadata"]["name"] for pod in pods)


@pytest.mark.usefixtures("near_operator")
@pytest.mark.parametrize("end", [False, True], ids=["suspended", "killed"])
def test_no_losing_pod_goes_before_every_node_follows(
    kube: Kube, duo: Cluster, test_namespace: str, end: bool, record_property: Callable[[str, object], None]
) -> None:
    release = installed(kube, test_namespace)
    before = pods_of(release, OLD_VERSION)
    assert places(before) == {NEAR, FAR}
    with users_on(release, NEAR) as near, users_on(release, FAR) as far:
        with fault(duo, "kube-proxy", end=end) as mend:
            release.apply(spec_of(NEW_VERSION))
            message = wait_reason(release, "Soaking", "NodesBehind")
            assert FAR in message
            assert NEAR not in message
            near.wait_version(NEW_VERSION, deadline_seconds=30)
            wait_more(far)
            assert second_versions(far) == {OLD_VERSION}, "the fault was none: that node's users have moved"
            assert wait_reason(release, "Soaking", "NodesBehind")
            assert staying(pods_of(release, OLD_VERSION)) == staying(before), (
                "a pod went while users were on it"
            )
            mend()
            upgrade = release.wait_upgrade(
                NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS
            )
        for users in (near, far):
            users.wait_version(NEW_VERSION, deadline_seconds=30, only=True)
        assert_nobody_lost_anything(near.stop(), far.stop())
    assert not staying(pods_of(release, OLD_VERSION))
    record_property("soaking_seconds", next(p for p in upgrade.timeline if p.phase == "Soaking"))


@pytest.mark.usefixtures("near_operator")
def test_a_rollback_keeps_the_losing_pods_that_a_node_still_uses(
    kube: Kube, duo: Cluster, test_namespace: str
) -> None:
    release = installed(kube, test_namespace)
    with users_on(release, NEAR) as near, users_on(release, FAR) as far:
        release.apply(spec_of(NEW_VERSION, LONG_SOAK))
        wait_shed(release)
        for users in (near, far):
            users.wait_version(NEW_VERSION, deadline_seconds=30, only=True)
        losing = pods_of(release, NEW_VERSION)
        with fault(duo, "kube-proxy") as mend:
            release.command("rollback")
            message = wait_reason(release, "RollingBack", "NodesBehind")
            assert FAR in message
            near.wait_version(OLD_VERSION, deadline_seconds=30)
            wait_more(far)
            assert second_versions(far) == {NEW_VERSION}, "the fault was none: that node's users have moved"
            assert staying(pods_of(release, NEW_VERSION)) == staying(losing)
            mend()
            upgrade = release.wait_upgrade(
                NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
            )
        for users in (near, far):
            users.wait_version(OLD_VERSION, deadline_seconds=30, only=True)
        assert_nobody_lost_anything(near.stop(), far.stop())
    assert upgrade.decided_at is not None
    assert upgrade.switched_back_at is not None
    assert (upgrade.switched_back_at - upgrade.decided_at).total_seconds() < 5


@pytest.mark.usefixtures("near_operator")
def test_an_upgrade_waits_for_pods_on_a_node_that_is_not_ready(
    kube: Kube, duo: Cluster, test_namespace: str
) -> None:
    """Half of each colour is on it: the other half serves, nothing is taken back, nothing is forgotten."""
    release = installed(kube, test_namespace)
    with users_on(release, NEAR) as near:
        release.apply(spec_of(NEW_VERSION, LONG_SOAK))
        wait_shed(release)
        assert places(pods_of(release, NEW_VERSION)) == {NEAR, FAR}
        with fault(duo, "kubelet") as mend:
            wait_not_ready(kube)
            wait_for_objects(
                kube, "Pod", test_namespace, lambda pods: ready_nodes(pods) == {NEAR},
                labels=f"app={podinfo.NAME}", what="only the first node's pods ready",
            )  # fmt: skip
            wait_more(near)
            assert release.status()["phase"] == "Soaking"
            release.patch({"soak": "1s"})
            wait_reason(release, "Closing", "Draining", says="finish what they hold")
            wait_more(near)
            assert release.status()["phase"] == "Closing"
            mend()
            release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        assert_nobody_lost_anything(near.stop())


@pytest.mark.usefixtures("near_operator")
def test_a_candidate_whose_node_is_lost_is_gone_back_from(
    kube: Kube, duo: Cluster, test_namespace: str, record_property: Callable[[str, object], None]
) -> None:
    release = installed(kube, test_namespace, **on_node(NEAR))
    with users_on(release, NEAR) as near:
        release.apply(spec_of(NEW_VERSION, LONG_SOAK, **on_node(FAR)))
        wait_shed(release)
        near.wait_version(NEW_VERSION, deadline_seconds=30, only=True)
        with fault(duo, "kubelet") as mend:
            release.wait(
                lambda item: item["status"]["traffic"]["current"] == "blue",
                what="traffic on the former colour", deadline_seconds=NODE_GRACE_SECONDS + 30,
            )  # fmt: skip
            near.wait_version(OLD_VERSION, deadline_seconds=30, only=True)
            wait_more(near)
            assert second_versions(near) == {OLD_VERSION}
            mend()
            upgrade = release.wait_upgrade(
                NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
            )
        summary = near.stop()
    assert upgrade.reason == "ReadinessLost"
    # Nobody can serve between the loss of the last ready pod and the move; that is not to take long.
    seconds_with_failures = [second.offset for second in summary.seconds if second.failures]
    record_property("seconds_with_failures", seconds_with_failures)
    assert len(seconds_with_failures) <= 5, summary.line()


@pytest.mark.usefixtures("near_operator")
def test_images_are_pulled_on_the_node_where_no_pod_of_the_candidate_is(
    kube: Kube, duo: Cluster, test_namespace: str, record_property: Callable[[str, object], None]
) -> None:
    """Every image of these tests is on both nodes beforehand, so that what shows it is where the Job's pods ran."""
    deliver(duo, ["drain:dev"])
    release = installed(kube, test_namespace, components__0__replicas=1)
    asked = {"components__0__replicas": 1, "surge__prePull": {"image": DRAIN_IMAGE}}
    release.apply(spec_of(NEW_VERSION, LONG_SOAK, **asked))
    wait_shed(release)
    assert len(places(pods_of(release, NEW_VERSION))) == 1
    upgrade = release.upgrade_id()

    (job,) = kube.objects("Job", test_namespace, labels=PULLING)
    assert job["metadata"]["name"] == f"{podinfo.NAME}-{upgrade}-pull-web"
    complete = condition_of(job, "Complete")
    assert complete is not None
    assert complete["status"] == "True"
    pods = kube.objects("Pod", test_namespace, labels=PULLING)
    assert len(pods) == 2
    assert places(pods) == {NEAR, FAR}
    for pod in pods:
        assert [item["image"] for item in pod["spec"]["containers"]] == [podinfo.image(NEW_VERSION)]
        (container,) = pod["status"]["containerStatuses"]
        assert container["state"]["terminated"]["exitCode"] == 0
    for node in kube.objects("Node"):
        names = {name for image in node["status"]["images"] for name in image["names"]}
        assert podinfo.image(NEW_VERSION) in names, node["metadata"]["name"]
    assert not [event for event in release.events() if event["reason"] == "ImageNotEverywhere"]
    record_property("phases", [(phase.phase, phase.seconds) for phase in release.timeline()])

    release.patch({"soak": "1s"})
    release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
    for kind in ("Job", "Pod"):
        wait_for_objects(
            kube, kind, test_namespace, lambda found: not found,
            labels=PULLING, what=f"the end of what pulled: {kind}", deadline_seconds=PATIENCE_SECONDS,
        )  # fmt: skip


def test_two_nodes_come_up_beside_others_and_leave_no_trace(kube: Kube, duo: Cluster) -> None:
    second = LocalCluster("spare", nodes_asked=2)
    second.down()
    second.up()
    try:
        assert second.problems() == []
        assert len(second.nodes) == 2
        assert leftovers.found(second), "the proof would see nothing even of a running cluster"
        second.stop_component(FAR, "kube-proxy", end=True)
        assert second.problems() == [f"not running: kube-proxy of {FAR}"]
        second.start_component(FAR, "kube-proxy")
        assert second.problems() == []
        second.stop_component(FAR, "containerd")
    finally:
        second.down()
    assert leftovers.found(second) == []
    assert duo.problems() == [], "ending one cluster harmed the other"


def wait_not_ready(kube: Kube) -> None:
    def lost(node: Object) -> bool:
        ready = condition_of(node, "Ready")
        return ready is not None and ready["status"] != "True"

    wait_for_object(
        kube, "Node", FAR, "", lost, what="not ready", deadline_seconds=NODE_GRACE_SECONDS
    )  # fmt: skip


def ready_nodes(pods: list[Object]) -> set[str]:
    """Nodes on which a pod is ready."""
    found = set()
    for pod in pods:
        ready = condition_of(pod, "Ready")
        if ready is not None and ready["status"] == "True":
            found.add(pod["spec"]["nodeName"])
    return found
