"""podinfo, an application that knows nothing of us, is installed, upgraded and taken back while users are on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from conductor.api import names
from conductor.api.receipts import Kind
from harness import podinfo
from harness.kube import Kube, Object
from harness.load_run import LoadRun
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.receipts import all_kept, assert_told, receipts
from harness.releases import KIND, PhaseRecorder, Release, Upgrade
from harness.waiting import condition_of, wait_for_objects, wait_gone

OPTIONS = PodinfoOptions(replicas=2, soak="5s", window="10s")
#: Long enough that no soak ends by itself.
LONG_SOAK = PodinfoOptions(replicas=2, soak="10m", window="10s")
#: An upgrade that stands still for so long has failed.
PATIENCE_SECONDS = 90.0
#: Fewer verification requests than in production: what is tested here is not how sure a verdict is.
MISS_RATE = 0.05
USERS = podinfo.SPARING_USERS
#: From the decision to go back until the last answer of the losing version.
LIMIT_SECONDS = {ONE_SHOT: 2.0, KEEP_ALIVE: 10.0}
OWNED_KINDS = (
    "Service", "Deployment", "ReplicaSet", "Pod", "Job", "ControllerRevision", "EndpointSlice",
    "HorizontalPodAutoscaler", "PodDisruptionBudget",
)  # fmt: skip

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]


def spec_of(version: str, options: PodinfoOptions = OPTIONS, **at: Any) -> dict[str, Any]:
    """Autoscaled, by a controller that has no metrics and so keeps its bounds and nothing else."""
    sizes = {"minReplicas": options.replicas, "maxReplicas": 4, "targetCPUUtilizationPercentage": 80}
    return changed(
        podinfo.release_spec(version, options),
        traffic__switchHealth__missRate=MISS_RATE,
        components__0__autoscaling=sizes,
        components__0__disruptionBudget={"maxUnavailable": 1},
        **at,
    )


def beside(release: Release, kind: str) -> dict[str, Object]:
    """Specs of the objects of a kind that stand beside the release's Deployments, by revision."""
    found = release.kube.objects(kind, release.namespace, labels=f"{names.LABEL_RELEASE}={release.name}")
    return {item["metadata"]["labels"][names.LABEL_REVISION]: item["spec"] for item in found}


def policies(scaler: Object) -> tuple[str, str]:
    """Whether an autoscaler may make a Deployment larger, and smaller."""
    behavior = scaler["behavior"]
    return behavior["scaleUp"]["selectPolicy"], behavior["scaleDown"]["selectPolicy"]


def assert_only_the_active_is_scaled(release: Release) -> None:
    """At rest what serves has its autoscaler and its budget as they were asked for, and nothing else has any."""
    active = release.status()["activeRevision"]

    def alone(items: list[Object]) -> bool:
        return [item["metadata"]["labels"][names.LABEL_REVISION] for item in items] == [active]

    (scaler,) = wait_for_objects(
        release.kube, "HorizontalPodAutoscaler", release.namespace,
        lambda items: alone(items) and policies(items[0]["spec"]) == ("Max", "Max"),
        what="one autoscaler, as it was asked for",
    )  # fmt: skip
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 4)
    (budget,) = wait_for_objects(
        release.kube, "PodDisruptionBudget", release.namespace,
        lambda items: alone(items) and items[0]["spec"]["maxUnavailable"] == 1,
        what="one disruption budget, as it was asked for",
    )  # fmt: skip
    assert budget["spec"]["selector"]["matchLabels"][names.LABEL_REVISION] == active


def other(version: str) -> str:
    return NEW_VERSION if version == OLD_VERSION else OLD_VERSION


@pytest.fixture(scope="module")
def settled(kube: Kube, operator: None, request: pytest.FixtureRequest) -> Iterator[Release]:
    """A release at rest that the tests of this module upgrade one after the other, from whatever it runs."""
    before = request.session.testsfailed
    with namespace(kube, "podinfo", failed=lambda: request.session.testsfailed > before) as name:
        release = Release(kube, name, podinfo.NAME)
        release.apply(spec_of(OLD_VERSION))
        release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        yield release


def users_of(release: Release) -> LoadRun:
    return LoadRun(release.kube, podinfo.load_plan(release.namespace, **USERS), name="podinfo-users")


def last_answers(summary: LoadSummary, version: str, decided_at: datetime | None) -> dict[str, float]:
    """Seconds from the decision to the last answer of a version, by kind of client."""
    assert decided_at is not None
    found = {client: summary.last_answer(version, client) for client in (ONE_SHOT, KEEP_ALIVE)}
    return {client: (at - decided_at).total_seconds() for client, at in found.items() if at is not None}


def assert_nobody_lost_anything(summary: LoadSummary, *versions: str) -> None:
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == set(versions)


def selectors(release: Release) -> dict[str, Any]:
    found = release.kube.objects("Service", release.namespace)
    return {item["metadata"]["name"]: item["spec"]["selector"] for item in found}


def test_a_first_install_serves_and_is_removed_where_that_is_asked_for(
    kube: Kube, test_namespace: str
) -> None:
    release = Release(kube, test_namespace, podinfo.NAME)
    options = PodinfoOptions(replicas=1, window="10s")
    with PhaseRecorder(release) as recorder:
        release.apply(spec_of(OLD_VERSION, options, deletionPolicy="Delete"))
        item = release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
    assert [phase for phase in recorder.phases() if phase in {"Bootstrapping", "Verifying", "Stable"}] == [
        "Bootstrapping",
        "Verifying",
        "Stable",
    ]
    traffic = item["status"]["traffic"]
    assert (traffic["current"], traffic["blue"], traffic["green"]) == ("blue", 100, 0)
    for condition, status in {"Ready": "True", "Reconciling": "False", "Stalled": "False"}.items():
        found = condition_of(item, condition)
        assert found is not None
        assert found["status"] == status, found
    for kind in ("Service", "Deployment"):
        assert not any("ownerReferences" in made["metadata"] for made in kube.objects(kind, test_namespace))
    with users_of(release) as users:
        users.wait_requests(200, deadline_seconds=30)
        assert_nobody_lost_anything(users.stop(), OLD_VERSION)

    kube.delete(KIND, release.name, test_namespace)
    wait_gone(kube, KIND, release.name, test_namespace)
    for kind in OWNED_KINDS:
        wait_for_objects(
            kube, kind, test_namespace, lambda items: not items, what=f"no {kind} left of the release"
        )


def test_an_upgrade_loses_no_request(
    settled: Release, record_property: Callable[[str, object], None]
) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    colour = settled.status()["traffic"]["current"]
    with users_of(settled) as users:
        settled.apply(spec_of(new))
        upgrade = settled.wait_upgrade(new, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(new, deadline_seconds=20, only=True)
        summary = users.stop()
    assert_nobody_lost_anything(summary, old, new)
    status = settled.status()
    assert status["traffic"]["current"] != colour
    assert (status["activeVersion"], status["lastGoodRevision"]) == (new, status["activeRevision"])
    phases = [phase.phase for phase in upgrade.timeline]
    assert phases == ["Preflight", "BringingUp", "Migrating", "Verifying", "Switching", "Soaking", "Closing"]
    idle = {
        item["metadata"]["name"]: item["spec"]["replicas"]
        for item in settled.kube.objects("Deployment", settled.namespace)
        if item["metadata"]["labels"]["maestro-conductor.io/colour"] == colour
    }
    assert list(idle.values()) == [0], "the former colour keeps its spec and no pod"
    assert_only_the_active_is_scaled(settled)
    record_property("last_answers_seconds", last_answers(summary, old, upgrade.switched_at))
    assert_told_whole(settled, upgrade)


def assert_told_whole(release: Release, upgrade: Upgrade) -> None:
    """Every transition left a receipt, and the command line proves the chain."""
    proof = all_kept(release)
    assert_told(proof, upgrade.id, upgrade.timeline)
    assert proof["receipts"][0]["kind"] == Kind.OPENED
    assert {item["uid"] for item in proof["receipts"]} == {release.read()["metadata"]["uid"]}
    switches = [
        item["subject"]
        for item in proof["receipts"]
        if item["kind"] == Kind.INTENT
        and item["effect"] == "SwitchServices"
        and item.get("upgrade") == upgrade.id
    ]
    assert switches == [f"Service/{podinfo.NAME}={release.status()['activeRevision']}"]
    shown = receipts(release)
    assert shown.code == 0
    assert "complete and unbroken" in shown.text
    versions = (upgrade.from_version, upgrade.to_version)
    assert " → ".join(versions) in shown.text or " -> ".join(versions) in shown.text


def test_a_rollback_loses_no_request_and_the_failed_spec_waits_for_retry(
    settled: Release, record_property: Callable[[str, object], None]
) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    wanted = spec_of(new, LONG_SOAK)
    scalers = beside(settled, "HorizontalPodAutoscaler")
    with users_of(settled) as users:
        settled.apply(wanted)
        status = settled.wait_shed(deadline_seconds=PATIENCE_SECONDS)["status"]
        held = beside(settled, "HorizontalPodAutoscaler")
        assert policies(held[status["candidateRevision"]]) == ("Max", "Disabled")
        assert policies(held[status["standbyRevision"]]) == ("Disabled", "Disabled")
        assert set(beside(settled, "PodDisruptionBudget")) == set(held)
        met = users.wait_version(new, deadline_seconds=20, only=True)
        # Each client with a kept connection has had its turn on the new version by then.
        users.wait_requests(met.requests + 10 * USERS["rate"], deadline_seconds=30)
        settled.command("rollback")
        upgrade = settled.wait_upgrade(new, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(old, deadline_seconds=20, only=True)
        summary = users.stop()
    assert_nobody_lost_anything(summary, old, new)
    assert upgrade.reason == "RollbackRequested"
    measured = last_answers(summary, new, upgrade.decided_at)
    record_property("last_answers_seconds", measured)
    assert measured[ONE_SHOT] <= LIMIT_SECONDS[ONE_SHOT]
    assert measured[KEEP_ALIVE] <= LIMIT_SECONDS[KEEP_ALIVE]

    stalled = settled.wait_condition("Stalled", reason="RolledBack")
    assert f"retry={upgrade.id}" in stalled["message"]
    assert_only_the_active_is_scaled(settled)
    assert beside(settled, "HorizontalPodAutoscaler") == scalers, "not given back word for word"
    assert settled.status()["failedDigest"]
    serving = selectors(settled)
    settled.apply(changed(wanted, soak="11m", approval__beforeSwitch=True))
    settled.wait_condition("Stalled", reason="RolledBack")
    assert settled.last_upgrade().id == upgrade.id
    assert not settled.status().get("upgrade")

    settled.command("retry")
    again = settled.wait(
        lambda item: item["status"]["reason"] == "AwaitingApproval",
        what="the second try to wait for its approval", deadline_seconds=PATIENCE_SECONDS,
    )  # fmt: skip
    assert again["status"]["upgrade"]["id"] != upgrade.id
    assert selectors(settled).items() >= serving.items()
    settled.command("abort")
    settled.wait_upgrade(new, outcomes=("Aborted",), deadline_seconds=PATIENCE_SECONDS)
    assert selectors(settled) == serving
    assert settled.status()["activeVersion"] == old


def test_a_spec_put_back_in_the_window_moves_traffic_only_and_an_orphaned_release_goes_on_serving(
    settled: Release,
) -> None:
    """The last one of the module: the release goes, its evidence stays."""
    kube, old = settled.kube, settled.status()["activeVersion"]
    new = other(old)
    former = spec_of(old, LONG_SOAK)
    settled.apply(former)
    settled.wait_settled(old, deadline_seconds=PATIENCE_SECONDS)
    before = active_deployment(settled)
    with users_of(settled) as users:
        # Another label than in the test before: what failed once is not tried again.
        settled.apply(spec_of(new, LONG_SOAK, components__0__template__metadata__labels__again="true"))
        settled.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(new, deadline_seconds=20)
        settled.apply(former)
        upgrade = settled.wait_upgrade(
            new, outcomes=("Aborted", "RolledBack"), deadline_seconds=PATIENCE_SECONDS
        )
        assert upgrade.reason == "SpecReverted"
        assert upgrade.switched_back_at is not None
        condition = settled.wait_condition("Ready")
        assert condition["reason"] in {"Stable", "SpecReverted"}
        users.wait_version(old, deadline_seconds=20, only=True)
        after = active_deployment(settled)
        assert after["metadata"]["uid"] == before["metadata"]["uid"], "the version that served was made anew"
        assert after["spec"]["template"] == before["spec"]["template"]

        evidence = all_kept(settled)
        kube.delete(KIND, settled.name, settled.namespace)
        wait_gone(kube, KIND, settled.name, settled.namespace, deadline_seconds=10)
        so_far = users.latest()
        assert so_far is not None
        users.wait_requests(so_far.requests + 5 * USERS["rate"], deadline_seconds=30)
        summary = users.stop()
    assert_nobody_lost_anything(summary, old, new)
    assert selectors(settled)[podinfo.NAME]["maestro-conductor.io/release"] == settled.name
    assert before["metadata"]["uid"] in {
        item["metadata"]["uid"] for item in kube.objects("Deployment", settled.namespace)
    }
    assert_evidence_outlives(settled, evidence)


def active_deployment(release: Release) -> Object:
    labels = f"maestro-conductor.io/revision={release.status()['activeRevision']}"
    (found,) = release.kube.objects("Deployment", release.namespace, labels=labels)
    return found


def assert_evidence_outlives(release: Release, before: dict[str, Any]) -> None:
    kept = release.kube.objects(
        "ConfigMap", release.namespace, labels=f"{names.LABEL_RECEIPTS}={release.name}"
    )
    assert kept
    assert not any("ownerReferences" in item["metadata"] for item in kept)
    answer = receipts(release, "--json")
    assert answer.code == 0
    assert answer.json()["receipts"] == before["receipts"]
    assert "the release is gone" in receipts(release, "--verify").text
