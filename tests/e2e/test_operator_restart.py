"""A new operator, such as an upgrade of the operator brings, goes on in mid-upgrade and renders nothing anew."""

from __future__ import annotations

from typing import Any

import pytest

from harness import operator_install, podinfo
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release

PATIENCE_SECONDS = 90.0

pytestmark = [
    pytest.mark.alone,
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("operator"),
]


def test_a_restarted_operator_renders_nothing_anew_in_mid_upgrade(kube: Kube, test_namespace: str) -> None:
    release = Release(kube, test_namespace, podinfo.NAME)

    def ask_for(version: str) -> None:
        spec = podinfo.release_spec(version, PodinfoOptions(replicas=2, soak="30s", window="10s"))
        release.apply(changed(spec, traffic__switchHealth__missRate=0.05))

    def templates() -> dict[str, Any]:
        found = kube.objects("Deployment", test_namespace)
        return {item["metadata"]["name"]: item["spec"]["template"] for item in found}

    ask_for(OLD_VERSION)
    release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
    plan = podinfo.load_plan(test_namespace, **podinfo.SPARING_USERS)
    with LoadRun(kube, plan, name="roll-users") as users:
        ask_for(NEW_VERSION)
        release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        before = templates()
        epoch = release.status()["epoch"]
        operator_install.install(kube)
        release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        summary = users.stop()
    assert release.status()["epoch"] > epoch
    assert templates() == before
    assert not summary.faults(), summary.line()
