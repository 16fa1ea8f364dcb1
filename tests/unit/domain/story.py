"""Replays whole upgrades: the real gatherer, decisions and effects on a cluster in memory, with a clock of its own.

Every pass goes the operator's way (read, determine, plan, write the status, make one effect), and
after every pass the invariants are checked. The log of a story reads as what happened, in order.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.unit.domain.invariants import Invariants
from tests.unit.domain.machinery import Machinery, component_of, revision_of
from tests.unit.domain.process import OperatorDiedError, Process, busy, chain_of
from tests.unit.domain.surroundings import BEGIN, NODE, Clock, Inline, Models, node_sample, probe_sample
from tests.unit.domain.telling import Log, changes
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.clock import ServerClock
from conductor.adapters.kube import ApiError, ConflictError, Object
from conductor.api import names
from conductor.api.parse import parse_status
from conductor.api.reasons import Reason
from conductor.api.status import Phase, ReleaseStatus, UpgradeStatus
from conductor.domain.chain import Chain
from conductor.domain.determine import determine
from conductor.domain.effects import Effect
from conductor.domain.plan import Plan, plan
from conductor.domain.sampling import Needs, ProbeOrder, needs
from conductor.domain.snapshot import HealthSample, ProbeSample, ProgressSample, SilenceSample, Snapshot
from conductor.observe.gather import Samples, gather, list_objects
from conductor.observe.room import RoomReader

NAMESPACE, NAME, UID = "prod", "mc", "6c1e"
_AGAIN = timedelta(milliseconds=50)
_STEP = timedelta(seconds=1)
_MOST_TURNS = 600


@dataclass(frozen=True)
class Health:
    """What Prometheus says about a version from now on."""

    requests: float | None = 1000
    errors: float | None = 0
    p95_ms: float | None = 20
    error: str = ""


GOOD = Health()
BAD = Health(errors=50)
SLOW = Health(p95_ms=1500)
SILENT = Health(requests=None, errors=None, p95_ms=None)
BROKEN = Health(error="connection refused or host unknown")


class Story:
    """One release from its creation on."""

    def __init__(self, spec: Object, **metadata: Any) -> None:
        self._clock = Clock()
        self.kube = MemoryKube(self._clock.read)
        self.operator = Process(self.kube, self._clock.seconds)
        #: The operator's own clock; None while the API server's has never jumped, because they are the same then.
        self._operator_clock: ServerClock | None = None
        self.machinery = Machinery(self.kube, NAMESPACE)
        self.epoch = 1
        self.new_upgrades = True
        #: By version; what is not named is healthy.
        self.health: dict[str, Health] = {}
        #: Versions whose answers to our own requests are wrong.
        self.wrong_answers: set[str] = set()
        #: Requests a second that each losing pod still answers; None: Prometheus has no series of it.
        self.noise: float | None = 0.0
        self.progress: ProgressSample | None = None
        #: Gateways that may be asked, and whether requests through them get anywhere.
        self.gateways: dict[str, bool] = {}
        #: Nodes by what is seen through them, empty where they follow; None: they cannot be asked.
        self.nodes: dict[str, str] | None = None
        #: None: no right to read quotas and nodes, so that nothing is said about them.
        self.rooms: RoomReader | None = None
        self._log = Log(self.kube, self.machinery, NAMESPACE, UID, BEGIN)
        self.phases: list[Phase] = []
        #: The same with the time at which each began.
        self.entered: list[tuple[datetime, Phase]] = []
        self.effects: list[Effect] = []
        self.snapshot: Snapshot | None = None
        self.invariants = Invariants(self.kube, self.machinery, self._clock, NAMESPACE, NAME)
        self._parsed = Models()
        self._wanted = Needs()
        self._probes: dict[str, ProbeSample] = {}
        self._status: tuple[str, ReleaseStatus] | None = None
        meta = {"name": NAME, "namespace": NAMESPACE, "uid": UID, **metadata}
        self.kube.put("Node", "", NODE)
        self.kube.put(names.KIND, NAMESPACE, {"kind": names.KIND, "metadata": meta, "spec": spec})

    @property
    def now(self) -> datetime:
        return self._clock.now

    @now.setter
    def now(self, moment: datetime) -> None:
        self._clock.now = moment

    # what people do

    @property
    def release(self) -> Object:
        """The release as it is stored."""
        found = self.kube.get(names.KIND, NAMESPACE, NAME)
        assert found is not None, "the release is gone"
        return found

    @property
    def gone(self) -> bool:
        return self.kube.get(names.KIND, NAMESPACE, NAME) is None

    def apply(self, spec: Object) -> None:
        """Replace the whole spec, as GitOps does."""
        self.note(changes(self.release["spec"], spec))
        self.kube.put(names.KIND, NAMESPACE, {**self.release, "spec": spec})

    def change(self, **fields: Any) -> None:
        """Replace some fields of the spec."""
        self.apply({**self.release["spec"], **fields})

    def annotate(self, annotation: str, value: str | None) -> None:
        self.note(f"annotation {annotation.removeprefix(names.GROUP + '/')}={value}")
        self.kube.edit(names.KIND, NAMESPACE, NAME, {"metadata": {"annotations": {annotation: value}}})

    def jump(self, seconds: float) -> None:
        """The API server's clock jumps; the operator learns of it as it does of all time: by the next answer."""
        self.note(f"the API server's clock jumps by {seconds:+.0f} s")
        if self._operator_clock is None:
            self._operator_clock = self._clock_of_operator()
        self._clock.server_ahead += timedelta(seconds=seconds)

    def delete(self) -> None:
        self.note("the release is deleted")
        self.kube.delete(names.KIND, NAMESPACE, NAME)

    def note(self, text: str) -> None:
        """Tell in the log what comes from outside."""
        self._log.event(self.now, text)

    def begin(self, before: str = "") -> "Story":
        """The log begins here; `before` says what went before."""
        self._log.begin(self.now)
        if before:
            self.note(f"(before: {before})")
        return self

    # what there is

    @property
    def log(self) -> list[str]:
        return self._log.lines

    @property
    def status(self) -> ReleaseStatus:
        release = self.release
        version = release["metadata"]["resourceVersion"]
        if self._status is None or self._status[0] != version:
            self._status = (version, parse_status(release.get("status")))
        return self._status[1]

    @property
    def upgrade(self) -> UpgradeStatus:
        upgrade = self.status.upgrade
        assert upgrade is not None, f"no upgrade is under way: {self.status.message}"
        return upgrade

    def serving(self, service: str = "mc-api") -> set[str]:
        """Versions of the ready pods that a Service selects."""
        found = self.kube.get("Service", NAMESPACE, service)
        if found is None:
            return set()
        return {self.version(revision_of(pod)) for pod in self.machinery.selected(found)}

    def version(self, revision: str) -> str:
        """The version that a revision was recorded with; what others made has none."""
        if not revision:
            return "adopted"
        record = self.kube.get("ControllerRevision", NAMESPACE, names.revision_name(NAME, revision))
        return str(record["data"]["spec"]["version"]) if record else "?"

    def deployments(self) -> dict[str, int]:
        """Replicas by `component/version`."""
        return {
            f"{component_of(item)}/{self.version(revision_of(item))}": item["spec"]["replicas"]
            for item in self.kube.list("Deployment", NAMESPACE)
        }

    def condition(self, type_: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = self.status.condition(type_)
        assert found is not None, f"condition {type_} was never set"
        return found.status, found.reason

    def chain(self, *, without_status: bool = False) -> Chain:
        """The receipts so far; without the status as whoever comes after the release finds them."""
        receipts = None if without_status or self.gone else self.status.receipts
        uid = UID if self.gone else self.release["metadata"]["uid"]
        return chain_of(self.kube, NAMESPACE, NAME, uid, receipts)

    # time

    def observe(self) -> Snapshot:
        """A snapshot of this moment."""
        listed = list_objects(self.kube, Inline(), NAMESPACE, NAME)
        mine: dict[str, Any] = {"samples": self._samples(), "epoch": self.epoch, **self._times()}
        mine["new_upgrades"] = self.new_upgrades
        return gather(
            self.kube, Inline(), self.release, listed, parsed=self._parsed, rooms=self.rooms, **mine
        )

    def _times(self) -> dict[str, Any]:
        clock = self._operator_clock
        if clock is None:
            return {"now": self.now}
        self._tell(clock)
        return {"now": clock.now(), "server_now": clock.server_now()}

    def _clock_of_operator(self) -> ServerClock:
        clock = ServerClock(self._clock.seconds)
        self._tell(clock)
        return clock

    def _tell(self, clock: ServerClock) -> None:
        at = self._clock.seconds()
        clock.told(format_datetime(self._clock.read(), usegmt=True), at, at)

    def turn(self) -> Plan | None:
        """One pass, and the time until the next."""
        self.machinery.tick(self.now)
        if self.gone:
            return None
        s = self.snapshot = self.observe()
        try:
            decision = self.operator.decide(s)
        except OperatorDiedError:
            self.restart()
            return None
        decided = decision.plan
        if not self.phases or self.phases[-1] is not decided.status.phase:
            self.phases.append(decided.status.phase)
            self.entered.append((self.now, decided.status.phase))
        self._log.decision(self.now, s, decision.situation, decided)
        self.invariants.before(s, decided)
        try:
            made = self.operator.carry_out(self.release, s, decision)
        except (ApiError, OperatorDiedError) as error:
            self.note(f"it fails: {error}")
            if isinstance(error, OperatorDiedError):
                self.restart()
            self.now += _AGAIN if isinstance(error, ConflictError) else _STEP
            self.machinery.settle()
            self.invariants.chain(self.chain())
            return decided
        if made is not None:
            self.effects.append(made)
        self.machinery.settle()
        self.invariants.after(s, decided)
        self.invariants.chain(self.chain())
        self._wanted = needs(replace(s, status=decided.status))
        self.now += _AGAIN if decided.again else self._rest(decided)
        return decided

    def restart(self) -> None:
        """Another process takes over, which knows what is stored and nothing else."""
        self.epoch += 1
        self.operator = Process(self.kube, self._clock.seconds)
        if self._operator_clock is not None:
            self._operator_clock = self._clock_of_operator()

    def until(self, goal: Phase | Reason | Callable[[], bool], most: int = _MOST_TURNS) -> "Story":
        """Go on until the status shows that phase or that reason, or the condition holds."""
        for _ in range(most):
            if self._reached(goal):
                return self
            self.turn()
        raise AssertionError(f"never came to {goal}; last lines:\n" + "\n".join(self.log[-15:]))

    def settled(self) -> "Story":
        """Go on until nothing is under way and nothing is to be done."""
        quiet = 0
        for _ in range(_MOST_TURNS):
            decided = self.turn()
            quiet = 0 if decided is not None and busy(decided) else quiet + 1
            if quiet >= 2:
                return self
        raise AssertionError("never settled; last lines:\n" + "\n".join(self.log[-15:]))

    def wait(self, seconds: float) -> "Story":
        """Let that much time pass, with passes in it."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.turn()
        return self

    def long_after(self, minutes: int) -> "Story":
        """Let much time pass with few passes in it: one in half a minute."""
        for _ in range(2 * minutes):
            self.turn()
            self.now += timedelta(seconds=30)
        return self

    def at_rest(self, decisions: int = 5) -> "Story":
        """Prove that nothing is written: decisions on one and the same snapshot, then passes through ten minutes."""
        self.machinery.tick(self.now)
        s = self.observe()
        for _ in range(decisions):
            decided = plan(s, determine(s))
            assert decided.status == s.status
            assert decided.effect is None
        before = len(self.kube.writes)
        for _ in range(10):
            self.turn()
            self.now += timedelta(minutes=1)
        assert self.kube.writes[before:] == []
        return self

    def _reached(self, goal: Phase | Reason | Callable[[], bool]) -> bool:
        if isinstance(goal, Phase):
            return self.status.phase is goal
        if isinstance(goal, Reason):
            return self.status.reason == goal
        return goal()

    def _rest(self, decided: Plan) -> timedelta:
        if decided.wake_at is None:
            return _STEP
        now: datetime = self._times()["now"]
        return min(_STEP, max(_AGAIN, decided.wake_at - now))

    # samples

    def _samples(self) -> Samples:
        wanted, now = self._wanted, self._times()["now"]
        health = silence = None
        if wanted.health is not None:
            said = self.health.get(self.version(wanted.health.revision), GOOD)
            health = HealthSample(
                wanted.health.revision, now, said.requests, said.errors, said.p95_ms, said.error
            )
        if wanted.silence is not None:
            pods = self.kube.list("Pod", NAMESPACE, f"{names.LABEL_REVISION}={wanted.silence.revision}")
            counts = {pod["metadata"]["name"]: self.noise for pod in pods or self.machinery.unlabelled_pods()}
            silence = SilenceSample(wanted.silence.revision, now, counts)
        orders = [order for order in wanted.probes if not order.gateway or order.gateway in self.gateways]
        former = self._probes.get
        self._probes = {
            o.target: probe_sample(former(o.target), o, now, right=self._right(o)) for o in orders
        }
        asked, told = wanted.progress, self.progress
        progress = replace(told, job=asked.job, at=now) if asked and told else None
        return Samples(health, silence, self._probes, node_sample(self.nodes, wanted.nodes, now), progress)

    def _right(self, order: ProbeOrder) -> bool:
        """Whether our own requests are answered as they should be now."""
        goal = order.requests[0].version
        if not order.gateway:
            return self.serving(order.target) == {goal} and goal not in self.wrong_answers
        route = self.kube.get("HTTPRoute", NAMESPACE, order.target.split()[1])
        seen = self.machinery.led(route) if route and self.gateways[order.gateway] else {}
        return {self.version(hash_) for hash_ in seen} == {goal}


_CHECKPOINTS: dict[str, Story] = {}


def checkpoint(name: str, tell: Callable[[], Story]) -> Story:
    """A story told once and continued many times, each time from a copy."""
    if name not in _CHECKPOINTS:
        _CHECKPOINTS[name] = tell()
        _CHECKPOINTS[name].snapshot = None
    return copy.deepcopy(_CHECKPOINTS[name])


def installed(spec: Object) -> Story:
    """A story in which that spec is installed and at rest; its log begins here."""
    return checkpoint("installed " + json.dumps(spec, sort_keys=True), lambda: _install(spec))


def _install(spec: Object) -> Story:
    story = Story(spec).settled()
    assert story.status.phase is Phase.STABLE, story.status.message
    story.begin()
    story.phases.clear()
    story.effects.clear()
    story.kube.writes.clear()
    return story
