"""Every transition of an upgrade and of a rollback leaves a receipt, and the chain is proven by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from conductor.api import names
from conductor.api.receipts import Kind, Result
from harness import podinfo
from harness.kube import Kube
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import KIND, PhaseTime, Release
from harness.waiting import wait_for_objects, wait_gone

OPTIONS = PodinfoOptions(replicas=2, soak="5s", window="10s")
LONG_SOAK = PodinfoOptions(replicas=2, soak="10m", window="10s")
PATIENCE_SECONDS = 90.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


@dataclass(frozen=True)
class Answer:
    """What the command line said."""

    code: int
    text: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def receipts(release: Release, *options: str) -> Answer:
    """`conductor receipts` as a person runs it, with the kubeconfig of these tests."""
    command = (sys.executable, "-m", "conductor", "receipts", release.name, "-n", release.namespace, *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return Answer(done.returncode, done.stdout)


def spec_of(version: str, options: PodinfoOptions) -> dict[str, Any]:
    return changed(podinfo.release_spec(version, options), traffic__switchHealth__missRate=0.05)


@pytest.fixture(scope="module")
def told(kube: Kube, operator: None, request: pytest.FixtureRequest) -> Iterator[Release]:
    """A release that was installed, upgraded, and taken back from its next upgrade; at rest now."""
    before = request.session.testsfailed
    with namespace(kube, "receipts", failed=lambda: request.session.testsfailed > before) as name:
        release = Release(kube, name, podinfo.NAME)
        release.apply(spec_of(OLD_VERSION, OPTIONS))
        release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        release.apply(spec_of(NEW_VERSION, OPTIONS))
        release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        yield release


def all_kept(release: Release) -> dict[str, Any]:
    """The proof once the release is at rest and nothing is in its status alone."""
    wait_for_objects(
        release.kube, "ConfigMap", release.namespace,
        lambda _: not receipts(release, "--json", "--verify").json()["notKept"],
        what="every receipt kept", deadline_seconds=30,
    )  # fmt: skip
    answer = receipts(release, "--json")
    assert answer.code == 0, answer.text
    return answer.json()


def phases_told(found: Sequence[dict[str, Any]], upgrade: str) -> list[str]:
    return [item["phase"] for item in found if item["kind"] == Kind.PHASE and item.get("upgrade") == upgrade]


def assert_told(proof: dict[str, Any], upgrade: str, timeline: Sequence[PhaseTime]) -> None:
    """Each phase of the timeline, in its order, and every intent of the upgrade with its outcome."""
    assert proof["proven"]
    assert not proof["defects"]
    assert not proof["interruptions"]
    assert phases_told(proof["receipts"], upgrade) == [*(phase.phase for phase in timeline), "Stable"]
    own = [item for item in proof["receipts"] if item.get("upgrade") == upgrade]
    intents = [item["sequence"] for item in own if item["kind"] == Kind.INTENT]
    outcomes = [item for item in own if item["kind"] == Kind.OUTCOME]
    assert intents
    assert [item["intent"] for item in outcomes] == intents
    assert Result.UNKNOWN not in {item["result"] for item in outcomes}, "this operator was never interrupted"
    assert "SwitchServices" in {item["effect"] for item in outcomes if item["result"] == Result.DONE}


def test_an_upgrade_is_told_whole_and_its_chain_is_proven(told: Release) -> None:
    upgrade = told.last_upgrade()
    proof = all_kept(told)
    assert_told(proof, upgrade.id, upgrade.timeline)
    assert proof["receipts"][0]["kind"] == Kind.OPENED
    assert {item["uid"] for item in proof["receipts"]} == {told.read()["metadata"]["uid"]}
    switches = [
        item["subject"]
        for item in proof["receipts"]
        if item["kind"] == Kind.INTENT and item["effect"] == "SwitchServices"
    ]
    assert switches == [f"Service/{podinfo.NAME}={told.status()['activeRevision']}"]
    shown = receipts(told)
    assert shown.code == 0
    assert "complete and unbroken" in shown.text
    assert f"{OLD_VERSION} → {NEW_VERSION}" in shown.text or f"{OLD_VERSION} -> {NEW_VERSION}" in shown.text


@pytest.mark.chaos
def test_a_changed_word_is_found_and_the_mend_is_named(told: Release) -> None:
    all_kept(told)
    name, _ = min(segments(told).items())
    stored = told.kube.need("ConfigMap", name, told.namespace)["data"]
    key = sorted(stored)[2]
    told.kube.patch("ConfigMap", name, told.namespace, {"data": {key: stored[key].replace("Done", "Fine")}})
    try:
        answer = receipts(told, "--json", "--verify")
        assert answer.code == 1
        assert [(item["fault"], item["sequence"]) for item in answer.json()["defects"]] == [
            ("altered", int(key))
        ]
        assert "operator's log" in answer.json()["defects"][0]["mend"]
    finally:
        told.kube.patch("ConfigMap", name, told.namespace, {"data": {key: stored[key]}})
    assert receipts(told, "--verify").code == 0


@pytest.mark.chaos
def test_what_is_no_transition_costs_no_receipt(told: Release) -> None:
    """The answer to a command is written to the status; evidence is not touched for it."""
    all_kept(told)
    before = segments(told)
    told.annotate("abort", "of-nothing")
    told.wait_event(lambda event: event.get("reason") == "CommandRefused", what="the refusal of the command")
    all_kept(told)
    assert segments(told) == before


def segments(release: Release) -> dict[str, str]:
    """Resource versions of the ConfigMaps that keep receipts."""
    labels = f"{names.LABEL_RECEIPTS}={release.name}"
    found = release.kube.objects("ConfigMap", release.namespace, labels=labels)
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in found}


@pytest.mark.chaos
def test_a_rollback_is_told_as_well_and_why(told: Release) -> None:
    told.apply(spec_of(OLD_VERSION, LONG_SOAK))
    told.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
    told.command("rollback")
    upgrade = told.wait_upgrade(OLD_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
    proof = all_kept(told)
    assert_told(proof, upgrade.id, upgrade.timeline)
    back = [item for item in proof["receipts"] if item.get("phase") == "RollingBack" and "before" in item]
    assert [(item["before"], item["reason"]) for item in back] == [("Soaking", "RollbackRequested")]
    assert phases_told(proof["receipts"], upgrade.id)[-2:] == ["RollingBack", "Stable"]


def test_the_evidence_outlives_the_release(told: Release) -> None:
    before = all_kept(told)
    told.kube.delete(KIND, told.name, told.namespace)
    wait_gone(told.kube, KIND, told.name, told.namespace, deadline_seconds=30)
    for item in told.kube.objects("ConfigMap", told.namespace, labels=f"{names.LABEL_RECEIPTS}={told.name}"):
        assert "ownerReferences" not in item["metadata"]
    answer = receipts(told, "--json")
    assert answer.code == 0
    assert answer.json()["receipts"] == before["receipts"]
    assert "the release is gone" in receipts(told, "--verify").text
