"""Users come through a Gateway with a real data plane: the weights of its HTTPRoute move them, request by request."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness import gateway, operator_install, pairs, podinfo
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.namespaces import namespace
from harness.podinfo import NAME, NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.waiting import wait_for_object

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "rollback.sh"
#: Long enough that no soak and no step of a ramp ends by itself.
LONG = "10m"
OPTIONS = PodinfoOptions(replicas=2, soak="5s", window="10s")
#: Two pods of each colour could express none of these.
STEPS: list[dict[str, Any]] = [{"weight": 10, "hold": "5s"}, {"weight": 40, "hold": "5s"}]
#: An upgrade that stands still for so long has failed.
PATIENCE_SECONDS = 120.0
#: Fewer verification requests than in production: what is tested here is not how sure a verdict is.
MISS_RATE = 0.05
#: From the decision to go back until the last answer of the losing version, whatever connection it came on.
LIMIT_SECONDS = 2.0

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(300), pytest.mark.usefixtures("edge")]


@pytest.fixture(scope="module")
def edge(kube: Kube) -> Iterator[None]:
    """A Gateway, and an operator that may write routes; afterwards the operator is as other tests want it."""
    with gateway.running(kube):
        install(kube, gateway.url(""))
        yield
        operator_install.install(kube)


def install(kube: Kube, reached: str) -> None:
    """An operator that may write routes, and is told where the Gateway is reached."""
    where = f"gatewayAPI.addresses.{gateway.NAMESPACE}/{gateway.NAME}={reached}"
    operator_install.install(kube, values=("gatewayAPI.enabled=true", where))


def spec_of(version: str, steps: list[dict[str, Any]] = STEPS, **at: Any) -> dict[str, Any]:
    return changed(
        podinfo.release_spec(version, OPTIONS),
        traffic__switchHealth__missRate=MISS_RATE,
        traffic__provider="GatewayAPI",
        traffic__routes=[{"name": NAME}],
        traffic__ramp=steps,
        **at,
    )


def other(version: str) -> str:
    return NEW_VERSION if version == OLD_VERSION else OLD_VERSION


def host_of(release: Release) -> str:
    return f"{release.namespace}.example.org"


def apply_route(release: Release) -> None:
    """As its owner's chart would, whatever it looks like by now."""
    release.kube.apply(gateway.http_route(release.namespace, NAME, host=host_of(release)), manager="helm")


@pytest.fixture(scope="module")
def settled(kube: Kube, edge: None, request: pytest.FixtureRequest) -> Iterator[Release]:
    """A release at rest behind a route that the tests of this module upgrade one after the other."""
    before = request.session.testsfailed
    with namespace(kube, "routed", failed=lambda: request.session.testsfailed > before) as name:
        release = Release(kube, name, NAME)
        release.apply(spec_of(OLD_VERSION))
        release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        apply_route(release)
        gateway.wait_accepted(kube, name, NAME)
        yield release


def users_of(release: Release) -> LoadRun:
    plan = podinfo.load_plan(
        release.namespace, url=gateway.url("/version"), host=host_of(release), **podinfo.SPARING_USERS
    )
    return LoadRun(release.kube, plan, name="routed-users")


def backends(item: dict[str, Any]) -> dict[str, int]:
    return {ref["name"]: ref["weight"] for rule in item["spec"]["rules"] for ref in rule["backendRefs"]}


def wait_backends(release: Release, wanted: dict[str, int]) -> None:
    wait_for_object(
        release.kube, "HTTPRoute", NAME, release.namespace, lambda item: backends(item) == wanted,
        what=f"backends {wanted}", deadline_seconds=PATIENCE_SECONDS,
    )  # fmt: skip


def weights(release: Release, percent: int) -> dict[str, int]:
    """The route's backends while the candidate has that share."""
    active = release.status()["traffic"]["current"]
    candidate = "green" if active == "blue" else "blue"
    return {f"{NAME}-{active}": 100 - percent, f"{NAME}-{candidate}": percent}


def spec_of_route(release: Release) -> dict[str, Any]:
    found: dict[str, Any] = release.kube.need("HTTPRoute", NAME, release.namespace)["spec"]
    return found


def assert_nobody_lost_anything(summary: LoadSummary, *versions: str) -> None:
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == set(versions)


def last_answers(summary: LoadSummary, version: str, decided_at: datetime | None) -> dict[str, float]:
    """Seconds from the decision to the last answer of a version, by kind of client."""
    assert decided_at is not None
    found = {client: summary.last_answer(version, client) for client in (ONE_SHOT, KEEP_ALIVE)}
    return {client: (at - decided_at).total_seconds() for client, at in found.items() if at is not None}


def test_an_upgrade_by_route_loses_no_request_and_gives_the_route_back(settled: Release) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    before = spec_of_route(settled)
    with users_of(settled) as users:
        settled.apply(spec_of(new, components__0__template__metadata__labels__try="upgrade"))
        steps = [weights(settled, step["weight"]) for step in STEPS]
        for wanted in steps:
            wait_backends(settled, wanted)
        upgrade = settled.wait_upgrade(new, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(new, deadline_seconds=20, only=True)
        wait_backends(settled, {NAME: 1})
        so_far = users.latest()
        assert so_far is not None
        # Also over the moment in which the route is given back.
        users.wait_requests(so_far.requests + 600, deadline_seconds=60)
        summary = users.stop()
    assert_nobody_lost_anything(summary, old, new)
    assert spec_of_route(settled) == before
    assert "Ramping" in [phase.phase for phase in upgrade.timeline]
    assert not settled.status()["traffic"].get("routes")


def test_who_asks_for_the_candidate_reaches_it_before_anybody_else_does(kube: Kube, settled: Release) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    before = spec_of_route(settled)

    def previewing(preview: dict[str, Any]) -> dict[str, Any]:
        more = {"components__0__template__metadata__labels__try": "preview", "approval__beforeSwitch": True}
        return spec_of(new, [], traffic__preview=preview, **more)

    def answered_by(version: str, name: str, **headers: str) -> None:
        gateway.wait_answers(kube, settled.namespace, host_of(settled), version, name=name, **headers)

    with users_of(settled) as users:
        settled.apply(previewing({"header": {"name": "X-Preview", "value": "candidate"}}))
        settled.wait(
            lambda item: item["status"]["reason"] == "AwaitingApproval",
            what="the switch to wait for approval",
            deadline_seconds=PATIENCE_SECONDS,
        )
        answered_by(new, "by-header", X_Preview="candidate")
        answered_by(old, "by-another-header", X_Preview="something")
        settled.apply(previewing({"cookie": {"name": "preview", "value": "candidate"}}))
        answered_by(new, "by-cookie", Cookie="theme=dark; preview=candidate")
        answered_by(old, "by-header-no-more", X_Preview="candidate")
        so_far = users.latest()
        assert so_far is not None
        assert set(so_far.second_versions) == {old}
        settled.command("approve", step="switch")
        settled.wait_upgrade(new, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(new, deadline_seconds=20, only=True)
        summary = users.stop()
    assert_nobody_lost_anything(summary, old, new)
    wait_backends(settled, {NAME: 1})
    assert spec_of_route(settled) == before


@pytest.mark.parametrize("phase", ["Ramping", "Soaking"])
def test_a_rollback_by_route_moves_every_client_at_once(
    settled: Release, phase: str, record_property: Callable[[str, object], None]
) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    steps = [{"weight": 40, "hold": LONG}] if phase == "Ramping" else []
    with users_of(settled) as users:
        settled.apply(
            spec_of(new, steps, soak=LONG, components__0__template__metadata__labels__try=phase.lower())
        )
        settled.wait_phase(phase, deadline_seconds=PATIENCE_SECONDS)
        met = users.wait_version(new, deadline_seconds=30)
        users.wait_requests(met.requests + 10 * podinfo.SPARING_USERS["rate"], deadline_seconds=60)
        settled.command("rollback")
        upgrade = settled.wait_upgrade(new, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(old, deadline_seconds=20, only=True)
        summary = users.stop()
    assert_nobody_lost_anything(summary, old, new)
    measured = last_answers(summary, new, upgrade.decided_at)
    record_property("last_answers_seconds", measured)
    assert measured, "nobody met the new version"
    assert max(measured.values()) <= LIMIT_SECONDS, measured
    wait_backends(settled, {NAME: 1})


def test_a_route_that_its_owner_applies_in_a_ramp_is_weighed_anew_twice_and_then_left_to_people(
    settled: Release,
) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    settled.apply(
        spec_of(
            new, [{"weight": 10, "hold": LONG}], components__0__template__metadata__labels__try="reverted"
        )
    )
    wanted = weights(settled, 10)
    wait_backends(settled, wanted)
    with users_of(settled) as users:
        for _ in range(2):
            apply_route(settled)
            wait_backends(settled, wanted)
        settled.wait(
            lambda item: item["status"]["traffic"].get("reversions") == 2,
            what="two reversions counted",
            deadline_seconds=30,
        )
        apply_route(settled)
        stalled = settled.wait_condition("Stalled", reason="TrafficRevertedByOthers")
        assert "helm" in stalled["message"]
        assert "HTTPRoute podinfo" in stalled["message"]
        users.wait_version(old, deadline_seconds=20, only=True)
        settled.command("abort")
        settled.wait_upgrade(new, outcomes=("Aborted", "RolledBack"), deadline_seconds=PATIENCE_SECONDS)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert settled.status()["activeVersion"] == old
    assert backends(settled.kube.need("HTTPRoute", NAME, settled.namespace)) == {NAME: 1}


def test_a_switch_is_proven_through_the_gateway_itself(settled: Release) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    settled.apply(spec_of(new, [], soak=LONG, components__0__template__metadata__labels__try="proven"))
    settled.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
    way = f"HTTPRoute {NAME} by Gateway {gateway.NAMESPACE}/{gateway.NAME}"
    assert settled.status()["upgrade"]["gateways"] == [way]
    settled.command("rollback")
    settled.wait_upgrade(new, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
    wait_backends(settled, {NAME: 1})


def test_a_gateway_that_is_not_reached_from_here_is_told_and_keeps_nobody_from_upgrading(
    kube: Kube, settled: Release
) -> None:
    old = settled.status()["activeVersion"]
    new = other(old)
    install(kube, f"http://nobody.{gateway.NAMESPACE}.svc.cluster.local:80")
    try:
        settled.apply(spec_of(new, [], components__0__template__metadata__labels__try="unreached"))
        # Until it begins, the upgrade to the same version that the test before took back is the last one.
        settled.wait_phase("Verifying", deadline_seconds=PATIENCE_SECONDS)
        settled.wait_upgrade(new, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        told = settled.wait_event(
            lambda event: event["reason"] == "GatewayNotAsked", what="a Gateway that was not reached"
        )
        assert told["type"] == "Warning"
        assert f"{old} never answered through HTTPRoute {NAME} by Gateway" in told["message"]
    finally:
        install(kube, gateway.url(""))
    wait_backends(settled, {NAME: 1})


def test_no_transaction_meets_two_versions_where_a_route_is_the_edge(
    kube: Kube, test_namespace: str, record_property: Callable[[str, object], None]
) -> None:
    """`consistency: Strict`: a share, the switch and a rollback are one write of the route."""
    release = Release(kube, test_namespace, pairs.NAME)

    def asked_for(version: str) -> dict[str, Any]:
        options = PodinfoOptions(replicas=2, soak=LONG, window="10s")
        spec = pairs.release_spec(version, options, strict=True, route=pairs.FRONT)
        return changed(spec, traffic__ramp=[{"weight": 40, "hold": "5s"}])

    release.apply(asked_for(OLD_VERSION))
    release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
    kube.apply(gateway.http_route(test_namespace, pairs.FRONT, host=host_of(release)), manager="helm")
    gateway.wait_accepted(kube, test_namespace, pairs.FRONT)
    plan = pairs.load_plan(
        test_namespace, url=gateway.url("/echo"), host=host_of(release), **podinfo.SPARING_USERS
    )
    with LoadRun(kube, plan, name="routed-pair-users") as users:
        release.apply(asked_for(NEW_VERSION))
        release.wait_phase("Ramping", deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(pairs.both(NEW_VERSION), deadline_seconds=30)
        release.wait_shed(deadline_seconds=PATIENCE_SECONDS)
        met = users.wait_version(pairs.both(NEW_VERSION), deadline_seconds=20, only=True)
        users.wait_requests(met.requests + 5 * podinfo.SPARING_USERS["rate"], deadline_seconds=30)
        release.command("rollback")
        release.wait_upgrade(NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(pairs.both(OLD_VERSION), deadline_seconds=20, only=True)
        summary = users.stop()
    assert_nobody_lost_anything(summary, pairs.both(OLD_VERSION), pairs.both(NEW_VERSION))
    record_property("transactions", {pair: report.answers for pair, report in summary.versions.items()})
    assert pairs.mixed(summary).count == 0


def test_what_cannot_be_led_is_refused_by_name(settled: Release) -> None:
    old = settled.status()["activeVersion"]
    wanted = spec_of(other(old), components__0__template__metadata__labels__try="refused")
    settled.apply(changed(wanted, traffic__routes=[{"name": "nowhere"}]))
    upgrade = settled.wait_upgrade(other(old), outcomes=("Refused",), deadline_seconds=PATIENCE_SECONDS)
    assert upgrade.reason == "RouteUnusable"
    assert (
        "spec.traffic.routes[0].name: HTTPRoute nowhere does not exist"
        in settled.status()["lastUpgrade"]["message"]
    )


def test_the_script_takes_users_of_a_route_back_without_an_operator(kube: Kube, settled: Release) -> None:
    """The last one of the module: the operator is away for a while."""
    old = settled.status()["activeVersion"]
    new = other(old)
    settled.apply(
        spec_of(new, [{"weight": 40, "hold": LONG}], components__0__template__metadata__labels__try="script")
    )
    wait_backends(settled, weights(settled, 40))
    before = weights(settled, 0)
    operator_install.scale(kube, 0)
    try:
        with users_of(settled) as users:
            users.wait_version(new, deadline_seconds=30)
            said = subprocess.run(
                [SCRIPT, settled.name, "-n", settled.namespace],
                capture_output=True, text=True, timeout=120, check=False, env=os.environ,
            )  # fmt: skip
            assert said.returncode == 0, said.stdout + said.stderr
            assert backends(kube.need("HTTPRoute", NAME, settled.namespace)) == before
            users.wait_version(old, deadline_seconds=20, only=True)
            summary = users.stop()
    finally:
        operator_install.scale(kube, 1)
    assert_nobody_lost_anything(summary, old, new)
    upgrade = settled.wait_upgrade(new, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
    assert upgrade.reason == "RolledBackByScript"
    wait_backends(settled, {NAME: 1})
