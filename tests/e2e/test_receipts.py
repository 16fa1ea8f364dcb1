"""Receipts that somebody changed, that are not wanted, and those of a rollback; test_podinfo.py proves an upgrade's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conductor.api import names
from harness import podinfo
from harness.kube import Kube
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.receipts import all_kept, assert_told, phases_told, receipts
from harness.releases import Release

OPTIONS = PodinfoOptions(replicas=2, soak="5s", window="10s")
LONG_SOAK = PodinfoOptions(replicas=2, soak="10m", window="10s")
PATIENCE_SECONDS = 90.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


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
