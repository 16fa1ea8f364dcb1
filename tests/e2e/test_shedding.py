"""Clients that hold a connection by HTTP/1.1, HTTP/2, gRPC or WebSocket are moved by an upgrade and by a rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from conductor.api.reasons import Reason
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.load_summary import PROTOCOLS
from harness.namespaces import namespace
from harness.releases import PhaseRecorder, Release
from harness.shedapp import NAME, NEW_VERSION, OLD_VERSION, ShedappOptions, load_plan, release_spec
from harness.shedding import PATIENCE_SECONDS, TURNS_BEFORE, shed_and_return

CLIENTS = 5
PACE_SECONDS = 0.5
OPTIONS = ShedappOptions(replicas=3, soak="5s")
#: Long enough that no soak ends by itself.
LONG_SOAK = ShedappOptions(replicas=3, soak="10m")
#: It ends by itself long before its time.
WITH_WAITER = ShedappOptions(replicas=3, soak="10m", drain_seconds=30, waiter="Settled")
#: A client asks every half to three quarters of a second; a connection that is opened anew is there at once.
LONGEST_GAP_SECONDS = 3.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420), pytest.mark.usefixtures("operator")]


@pytest.fixture
def settled(kube: Kube, operator: None, request: pytest.FixtureRequest) -> Iterator[Release]:
    """A release of the application at rest."""
    before = request.session.testsfailed
    with namespace(kube, "shedding", failed=lambda: request.session.testsfailed > before) as name:
        release = Release(kube, name, NAME)
        release.apply(release_spec(OLD_VERSION, OPTIONS))
        release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        yield release


def test_clients_of_every_protocol_are_shed_after_the_switch_and_drained_after_a_rollback(
    settled: Release, record_property: Callable[[str, object], None]
) -> None:
    told = shed_and_return(settled, LONG_SOAK, clients=CLIENTS, pace_seconds=PACE_SECONDS)
    assert not told.load.faults(), told.load.line()
    assert told.upgrade.reason == "RollbackRequested"
    assert {client.kind for client in told.load.clients} == set(PROTOCOLS)
    assert len(told.load.clients) == CLIENTS * len(PROTOCOLS)
    assert not told.not_moved()
    for turn in (told.forward, told.back):
        assert turn.capacity.serving >= LONG_SOAK.replicas
        gaps = {f"{client.kind} {client.number}": turn.longest_gap(client) for client in told.load.clients}
        assert max(gaps.values()) <= LONGEST_GAP_SECONDS, gaps
    # Surge first: the standby was never smaller than what it may have to take back, and each of its pods was replaced.
    assert told.forward.capacity.standby is not None
    assert told.forward.capacity.standby >= LONG_SOAK.replicas
    assert told.forward.capacity.started >= LONG_SOAK.replicas
    for kind, protocol in PROTOCOLS.items():
        record_property(
            f"left_after_seconds: {protocol}",
            {
                "switch": [told.forward.left_after(client) for client in told.clients(kind)],
                "rollback": [told.back.left_after(client) for client in told.clients(kind)],
            },
        )


def test_pods_without_a_shell_end_their_drain_as_soon_as_nobody_is_sent_to_them_any_more(
    settled: Release,
) -> None:
    """Clients that never stop asking would hold a hook that waits for silence; here the application says goodbye."""
    told = shed_and_return(settled, WITH_WAITER, clients=CLIENTS, pace_seconds=PACE_SECONDS)
    assert not told.load.faults(), told.load.line()
    assert not told.not_moved()
    left = {
        f"{client.kind} {client.number}": told.back.left_after(client) or 0.0 for client in told.load.clients
    }
    assert max(left.values()) < WITH_WAITER.drain_seconds / 2, left


def test_every_client_has_left_before_silence_is_asked_for_and_the_old_pods_go(settled: Release) -> None:
    plan = load_plan(settled.namespace, clients=CLIENTS, pace_seconds=PACE_SECONDS)
    turn = CLIENTS * len(PROTOCOLS)
    with LoadRun(settled.kube, plan, name="shedding") as run, PhaseRecorder(settled) as recorder:
        run.wait_requests(TURNS_BEFORE * turn, deadline_seconds=120)
        settled.apply(release_spec(NEW_VERSION, OPTIONS))
        settled.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
        met = run.wait_version(NEW_VERSION, deadline_seconds=60, only=True)
        run.wait_requests(met.requests + TURNS_BEFORE * turn, deadline_seconds=60)
        load = run.stop()
    assert not load.faults(), load.line()
    assert [client.versions() for client in load.clients] == [[OLD_VERSION, NEW_VERSION]] * turn
    # The last wave may still say goodbye when the soak is over: nothing is scaled down before it has.
    told = [(at, status["reason"]) for at, status in recorder.seen if status["phase"] == "Closing"]
    assert Reason.PROVING_SILENCE in [reason for _, reason in told]
    scaled_down = next(at for at, reason in told if reason == Reason.DRAINING)
    last = {f"{client.kind} {client.number}": client.spans[0].last for client in load.clients}
    assert max(last.values()) < scaled_down, last
    left = {
        item["metadata"]["name"]: item["spec"]["replicas"]
        for item in settled.kube.objects("Deployment", settled.namespace)
        if item["metadata"]["labels"]["maestro-conductor.io/revision"] != settled.status()["activeRevision"]
    }
    assert list(left.values()) == [0]
