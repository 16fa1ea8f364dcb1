"""Prometheus is away, slow, wrong or empty: traffic never moves on it, and never waits for it to go back.

The release names Prometheus through the rig's second proxy, which answers in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from harness.crash_runs import Lane, lane
from harness.faults import Fault
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.podinfo import PodinfoOptions
from harness.rig_pod import prometheus_url
from harness.stories import PodinfoUpgrade
from harness.waiting import WaitError, condition_of

PATIENCE_SECONDS = 120.0
#: From the decision to go back until no Service points at the candidate: nothing to wait for in between.
BACK_SECONDS = 5.0


def answer(result: object) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def series(*values: str) -> str:
    return answer(
        [{"metric": {"le": str(i)}, "value": [1_700_000_000, value]} for i, value in enumerate(values)]
    )


@dataclass(frozen=True)
class Wrong:
    """Something that Prometheus does, and what the release says then."""

    name: str
    faults: tuple[Fault, ...]
    reason: str
    says: str
    away: bool = field(default=False)


WRONGS = (
    Wrong("away", (), "PrometheusError", "does not answer", away=True),
    Wrong("slow", (Fault("delay", times=0, seconds=15),), "PrometheusError", "no answer within 5 s"),
    Wrong(
        "failing", (Fault("answer", times=0, status=503, body="busy"),), "PrometheusError", "does not answer"
    ),
    Wrong(
        "another page",
        (Fault("answer", times=0, status=200, body="<html>log in</html>", content_type="text/html"),),
        "PrometheusError",
        "does not answer",
    ),
    Wrong("empty", (Fault("answer", times=0, status=200, body=answer([])),), "NoData", "gives no verdict"),
    Wrong(
        "not a number",
        (Fault("answer", times=0, status=200, body=series("NaN")),),
        "NoData",
        "gives no verdict",
    ),
    Wrong(
        "several series",
        (Fault("answer", times=0, status=200, body=series("1", "2")),),
        "PrometheusError",
        "series",
    ),
)

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(600)]


def upgrade_of(kube: Kube, namespace: str) -> PodinfoUpgrade:
    options = PodinfoOptions(
        replicas=2,
        soak="15s",
        window="10s",
        bring_up="10m",
        verify="10m",
        prometheus_url=prometheus_url(namespace),
    )
    return PodinfoUpgrade(kube, namespace, options=options)


@pytest.fixture(scope="module")
def settled(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> Iterator[Lane[PodinfoUpgrade]]:
    before = request.session.testsfailed
    with lane(kube, upgrade_of, failed=lambda: request.session.testsfailed > before) as ready:
        yield ready


@pytest.fixture
def made(settled: Lane[PodinfoUpgrade]) -> Iterator[Lane[PodinfoUpgrade]]:
    """Ends with a healthy Prometheus and nothing under way."""
    yield settled
    heal(settled)
    settled.story.release.end_upgrade(deadline_seconds=PATIENCE_SECONDS)


def befall(made: Lane[PodinfoUpgrade], wrong: Wrong) -> None:
    made.rig.set_faults(*wrong.faults, proxy="prometheus")
    made.rig.server("refuse" if wrong.away else "come-back", proxy="prometheus")


def heal(made: Lane[PodinfoUpgrade]) -> None:
    made.rig.set_faults(proxy="prometheus")
    made.rig.server("come-back", proxy="prometheus")


def users_of(made: Lane[PodinfoUpgrade]) -> LoadRun:
    return LoadRun(made.kube, made.story.load(), name="fault-users")


def wait_told(made: Lane[PodinfoUpgrade], phase: str, wrong: Wrong) -> None:
    """Wait until the release says what is wrong, in that phase, and calls nothing healthy."""

    def told(item: dict[str, object]) -> bool:
        status = item["status"]
        assert isinstance(status, dict)
        if status["phase"] != phase:
            raise WaitError(f"{wrong.name}: {phase} went to {status['phase']}: {status['message']}")
        healthy = condition_of(item, "Healthy")
        return (
            status["reason"] == wrong.reason
            and wrong.says in status["message"]
            and healthy is not None
            and healthy["status"] == "Unknown"
        )

    made.story.release.wait(told, what=f"{wrong.reason} in {phase}", deadline_seconds=PATIENCE_SECONDS)


def deployments(made: Lane[PodinfoUpgrade]) -> dict[str, int]:
    found = made.kube.objects(
        "Deployment", made.story.release.namespace, labels="maestro-conductor.io/release"
    )
    return {item["metadata"]["name"]: item["spec"]["replicas"] for item in found if item["spec"]["replicas"]}


def test_nothing_is_switched_on_what_prometheus_does_not_say(made: Lane[PodinfoUpgrade]) -> None:
    made.story.set_out()
    old = made.story.before.version
    with users_of(made) as users:
        befall(made, WRONGS[0])
        made.story.ask()
        made.story.release.wait_phase("Verifying", deadline_seconds=PATIENCE_SECONDS)
        for wrong in WRONGS:
            befall(made, wrong)
            wait_told(made, "Verifying", wrong)
        so_far = users.latest()
        assert so_far is not None
        assert set(so_far.second_versions) == {old}
        heal(made)
        made.story.follow()
        summary = users.stop()
    assert not summary.faults(), summary.line()


def test_nothing_is_taken_back_or_drained_on_what_prometheus_does_not_say(made: Lane[PodinfoUpgrade]) -> None:
    made.story.set_out()
    with users_of(made) as users:
        made.story.ask()
        made.story.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        for wrong in WRONGS:
            befall(made, wrong)
            # The window is past by then; what is left of the soak is a verdict.
            wait_told(made, "Soaking", wrong)
        assert len(deployments(made)) == 2, "the way back is kept at full size"
        heal(made)
        made.story.release.wait_phase("Closing", deadline_seconds=PATIENCE_SECONDS)
        befall(made, WRONGS[0])
        made.story.release.wait(
            lambda item: "cannot measure" in item["status"]["message"],
            what="silence that cannot be proven", deadline_seconds=PATIENCE_SECONDS,
        )  # fmt: skip
        assert len(deployments(made)) == 2
        heal(made)
        made.story.follow()
        summary = users.stop()
    assert not summary.faults(), summary.line()


@pytest.mark.parametrize("wrong", [WRONGS[0], WRONGS[1]], ids=lambda wrong: wrong.name)
def test_going_back_asks_nobody(made: Lane[PodinfoUpgrade], wrong: Wrong) -> None:
    made.story.set_out()
    old, new = made.story.before.version, made.story.version
    with users_of(made) as users:
        made.story.ask()
        made.story.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        befall(made, wrong)
        made.story.release.command("rollback")
        ended = made.story.release.wait_upgrade(
            new, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
        )
        users.wait_version(old, deadline_seconds=20, only=True)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert ended.decided_at is not None
    assert ended.switched_back_at is not None
    assert (ended.switched_back_at - ended.decided_at).total_seconds() < BACK_SECONDS


def test_without_a_verdict_until_the_deadline_the_version_is_refused(made: Lane[PodinfoUpgrade]) -> None:
    made.story.set_out()
    befall(made, WRONGS[0])
    made.story.ask()
    made.story.release.patch({"deadlines": {"verify": "20s"}})
    ended = made.story.release.wait_upgrade(
        made.story.version, outcomes=("Refused",), deadline_seconds=PATIENCE_SECONDS
    )
    assert ended.reason == "VerificationDeadlineExceeded"
    assert "does not answer" in ended.message


def test_a_prometheus_that_tells_of_errors_is_believed(made: Lane[PodinfoUpgrade]) -> None:
    """It cannot be told from one that is right; what users get is what they had."""
    made.story.set_out()
    with users_of(made) as users:
        made.story.ask()
        befall(made, Wrong("lying", (Fault("answer", times=0, status=200, body=series("5000")),), "", ""))
        ended = made.story.release.wait_upgrade(
            made.story.version, outcomes=("Refused", "RolledBack"), deadline_seconds=PATIENCE_SECONDS
        )
        summary = users.stop()
    assert ended.reason == "Unhealthy"
    assert not summary.faults(), summary.line()
