"""What must hold on every pass of every story, whatever happens in it (the design's invariants)."""

from datetime import timedelta

from tests.unit.domain.machinery import Machinery, revision_of
from tests.unit.domain.surroundings import Clock
from tests.unit.domain.transactions import Transactions
from tests.unit.effects.memory_api import MemoryKube, Write

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Consistency, DeletionPolicy
from conductor.api.status import ContractState, Phase, Verdict
from conductor.domain.chain import Chain
from conductor.domain.effects import CreateObject, DeleteObjects, DeletePods, ScaleDeployment, SwitchServices
from conductor.domain.plan import Plan
from conductor.domain.pods import lost_readiness
from conductor.domain.routing import services_of
from conductor.domain.semver import older
from conductor.domain.snapshot import Snapshot

_FRESH = timedelta(seconds=45)
CONDITIONS = {
    "Ready",
    "Reconciling",
    "Stalled",
    "Healthy",
    "TrafficConverged",
    "MigrationsApplied",
    "RollbackWindowOpen",
}
FORWARD = {
    # To Stable where what ran already is adopted or taken up, and back where it is handed back.
    Phase.PENDING: {Phase.BOOTSTRAPPING, Phase.STABLE},
    Phase.STABLE: {Phase.PREFLIGHT, Phase.CONTRACTING, Phase.PENDING},
    Phase.BOOTSTRAPPING: {Phase.EXPANDING, Phase.BRINGING_UP},
    Phase.PREFLIGHT: {Phase.EXPANDING, Phase.BRINGING_UP},
    Phase.EXPANDING: {Phase.BRINGING_UP},
    Phase.BRINGING_UP: {Phase.MIGRATING},
    # Back to BringingUp where somebody deleted a part of the candidate.
    Phase.MIGRATING: {Phase.VERIFYING, Phase.BRINGING_UP},
    Phase.VERIFYING: {Phase.RAMPING, Phase.SWITCHING, Phase.BRINGING_UP},
    Phase.RAMPING: {Phase.SWITCHING},
    Phase.SWITCHING: {Phase.SOAKING},
    Phase.SOAKING: {Phase.CLOSING, Phase.STABLE},
    Phase.CLOSING: {Phase.CONTRACTING, Phase.STABLE},
    Phase.CONTRACTING: {Phase.STABLE},
    # To Closing where a person lets the candidate stay, because there is nothing to go back to.
    Phase.ROLLING_BACK: {Phase.STABLE, Phase.BACKING_OUT, Phase.CLOSING},
    # To RollingBack where somebody gave the candidate users meanwhile.
    Phase.BACKING_OUT: {Phase.STABLE, Phase.PENDING, Phase.ROLLING_BACK},
}
BACK = {Phase.ROLLING_BACK, Phase.BACKING_OUT}
NEVER_BACK = {Phase.PENDING, Phase.STABLE, Phase.CONTRACTING}


class Invariants:
    """Checks one pass: what was decided before it is done, and what is there after."""

    def __init__(
        self,
        kube: MemoryKube,
        machinery: Machinery,
        clock: Clock,
        namespace: str,
        release: str,
    ) -> None:
        self._kube = kube
        self._machinery = machinery
        self._namespace = namespace
        self._release = release
        self.transactions = Transactions(kube, machinery, clock, namespace, release)
        kube.witness = self.transactions.look
        self._serving: dict[str, int] = {}
        self._led: dict[str, bool] = {}
        self._writes = 0

    def before(self, s: Snapshot, decided: Plan) -> None:
        """The decision by itself."""
        if s.spec is not None and s.spec.traffic.consistency is Consistency.STRICT:
            self.transactions.edge = s.spec.traffic.edge or "route"
        self.transactions.look()
        self._serving = self._ready_by_service()
        self._led = self._answered_by_route()
        self._writes = len(self._kube.writes)
        self._phases_in_order(s, decided)
        self._conditions_agree(s, decided)
        self._forward_needs_proof(s, decided)
        self._nothing_that_serves_is_deleted(s, decided)
        self._standby_is_never_below_its_base(s, decided)
        if decided.effect is not None and decided.status.upgrade is not None and s.status.upgrade is not None:
            intent = decided.status.upgrade.intent
            assert intent is not None, f"no intent stands for {decided.effect}"
            assert intent.effect == decided.effect.name

    def after(self, s: Snapshot, decided: Plan) -> None:
        """The cluster after the pass."""
        self.transactions.look()
        self._within_one_colour()
        written = [
            write
            for write in self._kube.writes[self._writes :]
            if write.kind != "Event" and not write.dry_run and not _keeps_receipts(write)
        ]
        statuses = [write for write in written if write.subresource == "status"]
        assert len(statuses) <= 1, f"more than one status write: {statuses}"
        if decided.effect is None:
            assert written == statuses, f"written without an effect: {written}"
        if s.spec is not None and s.spec.deletion_policy is DeletionPolicy.DELETE and s.deleting:
            return
        for service, before in self._serving.items():
            if not _has(s, decided.status.active_revision, service):
                continue
            found = self._kube.get("Service", self._namespace, service)
            left = len(self._machinery.selected(found)) if found else 0
            lost = f"{decided.effect} took the last ready pod from Service {service}"
            assert not before or left > 0, lost
        for route, answered in self._led.items():
            still = self._answered_by_route().get(route)
            assert not answered or still in (True, None), (
                f"{decided.effect} leads users of {route} to nothing"
            )
        self._owned_objects_outlive_the_release()

    def _within_one_colour(self) -> None:
        """Whoever calls by the Services of its colour meets its own version there, and somebody of it."""
        for pair in (*self.transactions.mixed, *self.transactions.lost):
            assert not pair.called.endswith(("-blue", "-green")), f"a user's transaction: {pair}"

    def chain(self, chain: Chain) -> None:
        """Whenever anybody looks, the receipts are complete and have no fork."""
        assert chain.proven, "; ".join(defect.message for defect in chain.defects)

    def _ready_by_service(self) -> dict[str, int]:
        services = self._kube.list("Service", self._namespace, f"{names.LABEL_RELEASE}={self._release}")
        return {
            item["metadata"]["name"]: len(self._machinery.selected(item))
            for item in services
            if item["metadata"]["labels"].get(names.LABEL_ROLE) == names.ROLE_SERVING
        }

    def _answered_by_route(self) -> dict[str, bool]:
        """Whether every backend that a route gives users to has a ready pod."""
        routes = self._kube.list("HTTPRoute", self._namespace)
        return {route["metadata"]["name"]: "" not in self._machinery.led(route) for route in routes}

    def _phases_in_order(self, s: Snapshot, decided: Plan) -> None:
        before, after = s.status.phase, decided.status.phase
        if before is after:
            return
        allowed = FORWARD[before] | (set() if before in NEVER_BACK | BACK else BACK)
        assert after in allowed, f"{before} went to {after}: {decided.status.message}"

    def _conditions_agree(self, s: Snapshot, decided: Plan) -> None:
        status = decided.status
        assert status.reason in set(Reason), f"{status.reason} is not in api.reasons"
        by_type = {condition.type: condition for condition in status.conditions}
        assert set(by_type) == CONDITIONS
        assert status.observed_generation == s.generation
        if by_type["Ready"].status == "True":
            assert status.phase is Phase.STABLE
            assert status.upgrade is None
            assert s.spec is not None, "Ready with a spec that cannot be read"
            wanted = s.spec.rollback_to or s.digest
            assert status.active_revision == wanted, (
                f"Ready, but the spec asks for another revision: {status.message}"
            )
            assert by_type["Stalled"].status == "False"
            assert by_type["Reconciling"].status == "False"
        if by_type["Stalled"].status == "True":
            assert by_type["Reconciling"].status == "False"
            assert by_type["Stalled"].message, "stalled without a word"
        if status.phase in {Phase.STABLE, Phase.CONTRACTING}:
            assert by_type["RollbackWindowOpen"].status == "False"
        if status.phase in {Phase.SOAKING, Phase.CLOSING}:
            assert by_type["RollbackWindowOpen"].status == "True"

    def _forward_needs_proof(self, s: Snapshot, decided: Plan) -> None:
        before, after, upgrade = s.status.phase, decided.status.phase, decided.status.upgrade
        if before is Phase.VERIFYING and after in {Phase.RAMPING, Phase.SWITCHING}:
            assert upgrade is not None
            assert upgrade.last_verdict is not None
            assert upgrade.last_verdict.verdict is Verdict.HEALTHY
            assert s.health is not None
            assert s.health.revision == upgrade.to_revision
            assert s.now - s.health.at < _FRESH
        if after is Phase.SOAKING and before is not after:
            assert upgrade is not None
            for service in self._kube.list("Service", self._namespace):
                name = service["metadata"]["name"]
                if name in self._serving and _has(s, upgrade.to_revision, name):
                    revisions = {revision_of(pod) for pod in self._machinery.selected(service)}
                    assert revisions == {upgrade.to_revision}, f"users are on {revisions}"
        if _is_job(decided, "contract"):
            pending = s.status.pending_contract
            committed = pending is not None and pending.state is ContractState.COMMITTED
            if before is not Phase.CONTRACTING or upgrade is None:
                assert committed, "a contract Job without the written intent"
            if committed:
                assert pending is not None
                assert s.status.schema_floor == pending.to, "the way back is not closed"
                assert not older(s.status.active_version, pending.to), "it would cut off what serves"

    def _nothing_that_serves_is_deleted(self, s: Snapshot, decided: Plan) -> None:
        if s.deleting:
            return
        upgrade = decided.status.upgrade
        kept = {decided.status.active_revision, upgrade.from_revision if upgrade else ""} - {""}
        if s.status.phase is Phase.ROLLING_BACK and upgrade is not None:
            kept.discard(upgrade.to_revision)
        match decided.effect:
            case DeleteObjects(objects):
                for kind, name in objects:
                    revision = name.rsplit("-", 1)[-1]
                    assert kind != "Deployment" or revision not in kept, f"{name} serves or stands by"
            case ScaleDeployment(name, 0):
                served = [w for w in s.workloads if w.name == name and w.component != "worker"]
                if decided.status.reason == Reason.ADOPTED_RETURNED:
                    # The invariant of the last ready pod holds for it as for everything.
                    return
                assert not served or s.status.phase is Phase.CLOSING, (
                    f"{name} is scaled away in {s.status.phase}"
                )

    def _standby_is_never_below_its_base(self, s: Snapshot, decided: Plan) -> None:
        if not isinstance(decided.effect, DeletePods) or s.status.upgrade is None:
            return
        doomed = {name for name, _ in decided.effect.pods}
        standby = s.status.upgrade.from_revision
        if s.status.upgrade.hotfix and lost_readiness(s, s.revisions[standby]):
            return
        for component in {pod.component for pod in s.pods if pod.name in doomed}:
            ready = s.ready_pods(standby, component)
            base = s.revisions[standby].spec.component(component).replicas
            left = [pod for pod in ready if pod.name not in doomed]
            assert len(left) >= base, f"{len(left)} of {base} standby pods of {component} would be left"

    def _owned_objects_outlive_the_release(self) -> None:
        for kind in ("Deployment", "Service", "ConfigMap", "ControllerRevision", "Job"):
            for item in self._kube.list(kind, self._namespace):
                assert "ownerReferences" not in item["metadata"]


def _has(s: Snapshot, revision: str, service: str) -> bool:
    """Whether that version has that Service; what only one before it had is deserted with it."""
    known = s.revisions.get(revision)
    return known is None or any(declared.name == service for _, declared in services_of(known))


def _keeps_receipts(write: Write) -> bool:
    return write.kind == "ConfigMap" and "-receipts-" in write.name


def _is_job(decided: Plan, verb: str) -> bool:
    if not isinstance(decided.effect, CreateObject) or decided.effect.manifest["kind"] != "Job":
        return False
    manifest: Object = decided.effect.manifest
    return bool(manifest["spec"]["template"]["spec"]["containers"][0].get("args", [""])[0] == verb)


def switched(decided: Plan) -> bool:
    """Whether this pass moves Services."""
    return isinstance(decided.effect, SwitchServices)
