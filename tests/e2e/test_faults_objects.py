"""Somebody deletes, scales or edits in mid-upgrade what the upgrade stands on: docs/faults.md, part 3.

Users of what is deleted under them cannot but notice; they are served again within seconds, and everybody else
never notices at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.crash_runs import Lane
from harness.end_state import LABEL_RELEASE, LABEL_REVISION
from harness.kube import Object
from harness.load_run import LoadRun
from harness.load_summary import LoadSummary
from harness.podinfo import NAME, PodinfoOptions, changed
from harness.releases import Upgrade
from harness.stories import PodinfoUpgrade
from harness.waiting import wait_for_object

PATIENCE_SECONDS = 150.0
#: An object that is made again is there after one pass; pods of it take their start.
AGAIN_SECONDS = 10.0
#: Seconds in which somebody's request may fail when what serves is deleted: pods start, and names are looked up anew.
DARK_SECONDS = 40
FOREVER = PodinfoOptions(replicas=2, soak="60m", window="10s", bring_up="10m", verify="10m")

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def made(podinfo_lane: Lane[PodinfoUpgrade]) -> Iterator[Lane[PodinfoUpgrade]]:
    """Each test upgrades from where the one before ended; a soak that never ends is ended here."""
    usual = podinfo_lane.story.options
    podinfo_lane.story.set_out()
    yield podinfo_lane
    podinfo_lane.story.options = usual
    podinfo_lane.story.release.end_upgrade(deadline_seconds=PATIENCE_SECONDS)


def users_of(made: Lane[PodinfoUpgrade]) -> LoadRun:
    return LoadRun(made.kube, made.story.load(), name="fault-users")


def of_revision(made: Lane[PodinfoUpgrade], kind: str, revision: str) -> Object:
    labels = f"{LABEL_RELEASE}={NAME},{LABEL_REVISION}={revision}"
    (found,) = made.kube.objects(kind, made.story.release.namespace, labels=labels)
    return found


def begin(made: Lane[PodinfoUpgrade], phase: str) -> dict[str, Any]:
    """Ask for the upgrade and wait for that phase; the status then."""
    made.story.ask()
    return dict(made.story.release.wait_phase(phase, deadline_seconds=PATIENCE_SECONDS)["status"])


def shed(made: Lane[PodinfoUpgrade]) -> dict[str, Any]:
    """An upgrade in a soak that does not end by itself, every client moved."""
    made.story.options = FOREVER
    made.story.ask()
    item = made.story.release.wait_shed(deadline_seconds=PATIENCE_SECONDS)
    return dict(item["status"])


def ended(made: Lane[PodinfoUpgrade], outcome: str) -> Upgrade:
    return made.story.release.wait_upgrade(
        made.story.version, outcomes=(outcome,), deadline_seconds=PATIENCE_SECONDS
    )


def delete(made: Lane[PodinfoUpgrade], kind: str, name: str) -> str:
    """Somebody deletes an object; its UID."""
    namespace = made.story.release.namespace
    uid: str = made.kube.need(kind, name, namespace)["metadata"]["uid"]
    assert made.kube.delete(kind, name, namespace)
    return uid


def wait_made_again(made: Lane[PodinfoUpgrade], kind: str, name: str, uid: str) -> None:
    wait_for_object(
        made.kube, kind, name, made.story.release.namespace, lambda item: item["metadata"]["uid"] != uid,
        what="to be made again", deadline_seconds=AGAIN_SECONDS,
    )  # fmt: skip


def dark_seconds(summary: LoadSummary) -> int:
    """Seconds in which a request failed."""
    return sum(1 for second in summary.seconds if second.failures)


def test_green_is_brought_up_again_while_it_has_no_users(made: Lane[PodinfoUpgrade]) -> None:
    with users_of(made) as users:
        revision = begin(made, "Verifying")["candidateRevision"]
        green = of_revision(made, "Deployment", revision)["metadata"]
        uid = delete(made, "Deployment", green["name"])
        wait_made_again(made, "Deployment", green["name"], uid)
        told = ended(made, "Succeeded")
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert [phase.phase for phase in told.timeline].count("BringingUp") == 2


def test_green_that_is_gone_with_users_on_it_is_gone_back_from(made: Lane[PodinfoUpgrade]) -> None:
    with users_of(made) as users:
        revision = shed(made)["candidateRevision"]
        delete(made, "Deployment", of_revision(made, "Deployment", revision)["metadata"]["name"])
        told = ended(made, "RolledBack")
        users.wait_version(made.story.before.version, deadline_seconds=30, only=True)
        summary = users.stop()
    assert told.reason == "ReadinessLost"
    assert dark_seconds(summary) <= DARK_SECONDS, summary.line()


def test_blue_that_serves_is_made_again_at_once(made: Lane[PodinfoUpgrade]) -> None:
    with users_of(made) as users:
        begin(made, "Verifying")
        blue = of_revision(made, "Deployment", made.story.before.revision)["metadata"]
        uid = delete(made, "Deployment", blue["name"])
        wait_made_again(made, "Deployment", blue["name"], uid)
        ended(made, "Succeeded")
        summary = users.stop()
    assert dark_seconds(summary) <= DARK_SECONDS, summary.line()


def test_blue_that_stands_by_is_made_again_when_it_is_needed(made: Lane[PodinfoUpgrade]) -> None:
    with users_of(made) as users:
        shed(made)
        delete(
            made,
            "Deployment",
            of_revision(made, "Deployment", made.story.before.revision)["metadata"]["name"],
        )
        made.story.release.command("rollback")
        ended(made, "RolledBack")
        users.wait_version(made.story.before.version, deadline_seconds=30, only=True)
        summary = users.stop()
    assert not summary.faults(), f"traffic was held until blue was ready: {summary.line()}"


@pytest.mark.parametrize("phase", ["Verifying", "Soaking", "RollingBack"])
def test_the_service_is_made_again_at_once(made: Lane[PodinfoUpgrade], phase: str) -> None:
    back = phase == "RollingBack"
    with users_of(made) as users:
        if back:
            shed(made)
            made.story.release.command("rollback")
        elif phase == "Soaking":
            shed(made)
        else:
            begin(made, phase)
        uid = delete(made, "Service", NAME)
        wait_made_again(made, "Service", NAME, uid)
        if phase == "Soaking":
            made.story.release.patch({"soak": "3s"})
        ended(made, "RolledBack" if back else "Succeeded")
        serving = made.story.before.version if back else made.story.version
        # The new Service has another address: clients find it when they look its name up again.
        users.wait_version(serving, deadline_seconds=90, only=True)
        summary = users.stop()
    assert dark_seconds(summary) <= DARK_SECONDS, summary.line()


def test_the_preview_service_is_made_again(made: Lane[PodinfoUpgrade]) -> None:
    with users_of(made) as users:
        begin(made, "Verifying")
        delete(made, "Service", f"{NAME}-preview")
        ended(made, "Succeeded")
        summary = users.stop()
    assert not summary.faults(), summary.line()


def test_the_candidates_record_is_written_again(made: Lane[PodinfoUpgrade]) -> None:
    with users_of(made) as users:
        revision = begin(made, "Verifying")["candidateRevision"]
        uid = delete(made, "ControllerRevision", f"{NAME}-{revision}")
        wait_made_again(made, "ControllerRevision", f"{NAME}-{revision}", uid)
        ended(made, "Succeeded")
        summary = users.stop()
    assert not summary.faults(), summary.line()


def test_without_the_record_of_what_serves_nothing_is_switched(made: Lane[PodinfoUpgrade]) -> None:
    former = made.story.release.read()["spec"]
    with users_of(made) as users:
        begin(made, "Verifying")
        name = f"{NAME}-{made.story.before.revision}"
        delete(made, "ControllerRevision", name)
        told = ended(made, "Refused")
        stalled = made.story.release.wait_condition("Stalled", reason="UnknownRevision", deadline_seconds=30)
        made.story.release.apply(former)
        made.story.release.wait_settled(made.story.before.version, deadline_seconds=PATIENCE_SECONDS)
        summary = users.stop()
    assert told.reason == "UnknownRevision"
    assert name in stalled["message"]
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {made.story.before.version}


def test_a_candidate_that_somebody_scales_away_or_edits_is_refused(made: Lane[PodinfoUpgrade]) -> None:
    """It waits for a person meanwhile, so that what is done to it is seen before the switch."""
    namespace = made.story.release.namespace
    made.story.options = replace(made.story.options, before_switch=True)

    def held() -> Object:
        made.story.ask()
        item = made.story.release.wait(
            lambda item: item["status"]["reason"] == "AwaitingApproval",
            what="the approval to be awaited", deadline_seconds=PATIENCE_SECONDS,
        )  # fmt: skip
        return of_revision(made, "Deployment", item["status"]["candidateRevision"])

    with users_of(made) as users:
        green = held()
        (container,) = green["spec"]["template"]["spec"]["containers"]
        old_image = container["image"].replace(made.story.version, made.story.before.version)
        edit = {
            "spec": {"template": {"spec": {"containers": [{"name": container["name"], "image": old_image}]}}}
        }
        made.kube.patch("Deployment", green["metadata"]["name"], namespace, edit, how="strategic")
        edited = ended(made, "Refused")

        made.story.set_out()
        made.kube.scale("Deployment", held()["metadata"]["name"], namespace, 0)
        scaled = ended(made, "Refused")
        summary = users.stop()
    assert edited.reason == "Unhealthy"
    assert scaled.reason in {"Unhealthy", "ReadinessLost"}
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {made.story.before.version}


def test_the_standby_follows_what_an_autoscaler_makes_of_green(made: Lane[PodinfoUpgrade]) -> None:
    """An autoscaler is one more writer of `replicas`; somebody who scales the standby away is another."""
    namespace = made.story.release.namespace
    with users_of(made) as users:
        revision = shed(made)["candidateRevision"]
        green = of_revision(made, "Deployment", revision)["metadata"]["name"]
        blue = of_revision(made, "Deployment", made.story.before.revision)["metadata"]["name"]
        made.kube.scale("Deployment", green, namespace, 3)
        wait_replicas(made, blue, 3)
        made.kube.scale("Deployment", blue, namespace, 0)
        wait_replicas(made, blue, 3)
        made.story.release.command("rollback")
        ended(made, "RolledBack")
        summary = users.stop()
    assert not summary.faults(), summary.line()


def wait_replicas(made: Lane[PodinfoUpgrade], name: str, replicas: int) -> None:
    wait_for_object(
        made.kube, "Deployment", name, made.story.release.namespace,
        lambda item: item["spec"]["replicas"] == replicas and item["status"].get("readyReplicas") == replicas,
        what=f"{replicas} ready replicas", deadline_seconds=60,
    )  # fmt: skip


def test_the_candidate_is_as_large_as_what_serves_was_scaled_to(made: Lane[PodinfoUpgrade]) -> None:
    namespace = made.story.release.namespace
    blue = of_revision(made, "Deployment", made.story.before.revision)["metadata"]["name"]
    made.kube.scale("Deployment", blue, namespace, 3)
    wait_replicas(made, blue, 3)
    with users_of(made) as users:
        revision = begin(made, "Verifying")["candidateRevision"]
        assert of_revision(made, "Deployment", revision)["spec"]["replicas"] == 3
        ended(made, "Succeeded")
        summary = users.stop()
    assert not summary.faults(), summary.line()


def test_green_that_crashes_over_and_over_is_refused_before_a_user_meets_it(
    made: Lane[PodinfoUpgrade],
) -> None:
    release = made.story.release
    with users_of(made) as users:
        broken = changed(
            made.story.spec(made.story.version),
            components__0__template__spec__containers__0__args=["--no-such-flag"],
        )
        release.apply(broken)
        told = ended(made, "Refused")
        summary = users.stop()
    assert told.reason == "CrashLooping"
    assert "kubectl logs" in told.message
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {made.story.before.version}
