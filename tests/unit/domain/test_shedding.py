"""Shedding: every pod that users were connected to goes, surge-first; the standby never falls below its base."""

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.plane import api_component, spec

from conductor.api.parse import parse_spec
from conductor.api.spec import Colour, ReleaseSpec
from conductor.api.status import Phase, ReleaseStatus, UpgradeStatus
from conductor.domain.effects import DeletePods, ScaleDeployment
from conductor.domain.phases.context import Context
from conductor.domain.phases.soaking import shed
from conductor.domain.revision import Revision
from conductor.domain.situation import Acting
from conductor.domain.snapshot import Pod, Snapshot, Workload

SWITCHED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Colony:
    """The losing colour's one Deployment, as a ReplicaSet would treat it."""

    base: int
    active: int
    pods: list[Pod]
    replicas: int
    now: datetime = SWITCHED + timedelta(seconds=2)
    made: int = 0

    def pod(self, created_at: datetime, ready: bool) -> Pod:
        self.made += 1
        name = f"pod-{self.made:04d}"
        return Pod(
            name=name,
            uid=name,
            component="api",
            colour=Colour.BLUE,
            revision="old",
            ready=ready,
            terminating=False,
            serving=True,
            created_at=created_at,
        )

    def settle(self) -> None:
        while len(self.pods) < self.replicas:
            self.pods.append(self.pod(self.now, ready=False))
        while len(self.pods) > self.replicas:
            self.pods.remove(max(self.pods, key=lambda pod: (not pod.ready, pod.created_at, pod.name)))

    def context(self) -> Context:
        parsed = parse_spec(spec("1.0.0", components=[api_component("1.0.0", replicas=self.base)]))
        assert isinstance(parsed, ReleaseSpec)
        upgrade = UpgradeStatus(
            id="u1",
            sequence=2,
            to="1.1.0",
            to_revision="new",
            from_revision="old",
            to_colour=Colour.GREEN,
            started_at=SWITCHED,
            phase_started_at=SWITCHED,
            switched_at=SWITCHED,
        )
        old, new = Revision(hash="old", spec=parsed), Revision(hash="new", spec=parsed)
        workloads = (
            Workload("mc-api-blue-old", "api", Colour.BLUE, "old", self.replicas, 0, True),
            Workload("mc-api-green-new", "api", Colour.GREEN, "new", self.active, self.active, True),
        )
        s = Snapshot(
            now=self.now,
            name="mc",
            namespace="prod",
            uid="6c1e",
            generation=2,
            resource_version="1",
            annotations={},
            deleting=False,
            finalizers=(),
            spec=parsed,
            findings=(),
            digest="new",
            status=ReleaseStatus(phase=Phase.SOAKING, upgrade=upgrade),
            epoch=1,
            revisions={"old": old, "new": new},
            workloads=workloads,
            pods=tuple(self.pods),
        )
        return Context(s, upgrade, new, old)


def colony(base: int, active: int) -> Colony:
    made = Colony(base, active, [], base)
    made.pods = [made.pod(SWITCHED - timedelta(hours=1), ready=True) for _ in range(base)]
    return made


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.randoms(use_true_random=False))
def test_a_ready_standby_is_never_smaller_than_its_base(
    base: int, active: int, chance: random.Random
) -> None:
    pods = colony(base, active)
    carried = max(base, active)
    waves = []
    for _ in range(300):
        pods.settle()
        move = shed(pods.context(), pods.context().s.revisions["old"])
        if move is None:
            break
        if isinstance(move, Acting):
            match move.effect:
                case ScaleDeployment(_, replicas):
                    pods.replicas = replicas
                case DeletePods(doomed):
                    ready = sum(pod.ready for pod in pods.pods)
                    names = {name for name, _ in doomed}
                    waves.append(len(names))
                    pods.pods = [pod for pod in pods.pods if pod.name not in names]
                    assert ready - len(names) >= carried
        else:
            pods.pods = [replace(pod, ready=pod.ready or chance.random() < 0.5) for pod in pods.pods]
        pods.now += timedelta(seconds=1)
    else:
        raise AssertionError("shedding never ended")

    assert all(pod.created_at >= SWITCHED for pod in pods.pods), "a pod that users were on is left"
    assert pods.replicas == carried
    if active <= base:
        assert waves[0] == 1, "the first wave is one pod"
    assert sum(waves) == base


def test_a_failure_stops_shedding_and_not_the_standby() -> None:
    pods = colony(3, 3)
    for _ in range(40):
        pods.settle()
        move = shed(pods.context(), pods.context().s.revisions["old"])
        if isinstance(move, Acting) and isinstance(move.effect, ScaleDeployment):
            pods.replicas = move.effect.replicas
        assert not (isinstance(move, Acting) and isinstance(move.effect, DeletePods))

    assert sum(pod.ready for pod in pods.pods) == 3
    assert pods.replicas == 4


def test_node_proxies_get_their_time_before_the_first_pod_goes() -> None:
    pods = colony(3, 3)
    pods.now = SWITCHED + timedelta(seconds=1)

    move = shed(pods.context(), pods.context().s.revisions["old"])
    assert move is not None
    assert not isinstance(move, Acting)
