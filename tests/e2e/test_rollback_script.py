"""scripts/rollback.sh: traffic goes back with kubectl alone, and the operator accepts it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conductor.api import names
from harness import operator_install, podinfo
from harness.kube import Kube, Object
from harness.load_run import LoadRun
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.waiting import wait_for_objects

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "rollback.sh"
#: Long enough that no soak of these tests ends by itself.
LONG_SOAK = PodinfoOptions(soak="10m")
PROMISED_SECONDS = 120

pytestmark = [
    pytest.mark.alone,
    pytest.mark.elsewhere,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("operator"),
]


@dataclass(frozen=True)
class Said:
    exit_code: int
    text: str


def roll_back(release: Release, *options: str) -> Said:
    done = subprocess.run(
        [SCRIPT, release.name, "-n", release.namespace, *options],
        capture_output=True,
        text=True,
        timeout=PROMISED_SECONDS,
        check=False,
        env=os.environ,
    )
    return Said(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def operator_comes_back(kube: Kube) -> Iterator[None]:
    yield
    operator_install.scale(kube, 1)


def scales_up(scalers: list[Object], revision: str) -> list[str]:
    """The policies by which autoscalers of that revision make it larger."""
    return [
        item["spec"]["behavior"]["scaleUp"]["selectPolicy"]
        for item in scalers
        if item["metadata"]["labels"][names.LABEL_REVISION] == revision
    ]


def spec_of(version: str) -> dict[str, Any]:
    sizes = {"minReplicas": 3, "maxReplicas": 5, "targetCPUUtilizationPercentage": 80}
    return changed(podinfo.release_spec(version, LONG_SOAK), components__0__autoscaling=sizes)


def selected_revision(release: Release) -> str:
    service = release.kube.need("Service", podinfo.NAME, release.namespace)
    return str(service["spec"]["selector"]["maestro-conductor.io/revision"])


@pytest.mark.usefixtures("operator_comes_back")
def test_traffic_goes_back_without_an_operator_and_beside_one(kube: Kube, test_namespace: str) -> None:
    release = Release(kube, test_namespace, podinfo.NAME)
    release.apply(spec_of(OLD_VERSION))
    release.wait_settled(OLD_VERSION)

    nothing = roll_back(release)
    assert nothing.exit_code == 3
    assert "set spec.rollbackTo" in nothing.text
    unknown = roll_back(Release(kube, test_namespace, "nobody"))
    assert unknown.exit_code == 1
    assert "check its name" in unknown.text

    former = selected_revision(release)
    release.apply(spec_of(NEW_VERSION))
    release.wait_phase("Soaking")
    wait_for_objects(
        kube, "HorizontalPodAutoscaler", test_namespace,
        lambda items: "Disabled" in scales_up(items, former), what="the standby's autoscaler at rest",
    )  # fmt: skip
    dry = roll_back(release, "--dry-run")
    assert dry.exit_code == 0, dry.text
    assert selected_revision(release) != former
    assert "rolled-back-by" not in str(release.read()["metadata"].get("annotations"))

    operator_install.scale(kube, 0)
    with LoadRun(kube, podinfo.load_plan(test_namespace, **podinfo.SPARING_USERS)) as load:
        load.wait_requests(500, deadline_seconds=60)
        said = roll_back(release)
        assert said.exit_code == 0, said.text
        load.wait_version(OLD_VERSION, deadline_seconds=30, only=True)
        summary = load.stop()
    assert not summary.faults(), summary.line()
    assert selected_revision(release) == former
    scalers = kube.objects("HorizontalPodAutoscaler", test_namespace)
    assert scales_up(scalers, former) == ["Max"], "it has users, and nobody else could let it grow"

    operator_install.scale(kube, 1)
    ended = release.wait_upgrade(NEW_VERSION, outcomes=("RolledBack",))
    assert ended.reason == "RolledBackByScript"
    assert selected_revision(release) == former

    release.command("retry")
    release.wait_phase("Soaking")
    beside = roll_back(release)
    assert beside.exit_code == 0, beside.text
    release.wait(
        lambda item: not item["status"].get("upgrade") and item["status"]["lastUpgrade"]["id"] != ended.id,
        what="the end of the second try",
        deadline_seconds=60,
    )
    assert release.last_upgrade().reason == "RolledBackByScript"
    assert selected_revision(release) == former
