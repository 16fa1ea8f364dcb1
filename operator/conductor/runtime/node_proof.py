"""Asks every node whether its proxy follows: what `domain.nodes` decides on is measured here.

The operator has a Service of its own that is open on every node (a NodePort) and an EndpointSlice that leads
back to itself. Each round writes a new port into that slice and then connects through every node: a connection
that ends in this round's port went through a node that has taken in this change, and, because all EndpointSlices
come over one watch in the order of their writing, every change before it. Rounds are shared by all releases.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import structlog

from conductor.adapters.kube import AlreadyExistsError, ApiError, Kube, NotFoundError, Object
from conductor.adapters.node_path import AnotherReplicaError, Rounds
from conductor.api import names
from conductor.domain.snapshot import NodeSample, NodeState
from conductor.runtime import metrics
from conductor.runtime.turns import Key

_log = structlog.get_logger(__name__)

_THREADS = 16
#: Proxies write their rules at most once a second or so; asking more often than this learns nothing.
_ROUND_SECONDS = 1.0
_ASK_SECONDS = 0.3
#: A node that does not follow for so long is asked less often.
_PATIENT_AFTER_SECONDS = 10.0
_PATIENT_ASK_SECONDS = 1.0
#: A way that is closed to us is tried again this often.
_CLOSED_ASK_SECONDS = 30.0
#: Replicas share the Service, and each connection ends at any of them.
_TRIES = 8
_NODES_SECONDS = 30.0
#: Where no node answered for so long, the way through nodes is taken to be closed to us.
_USABLE_WITHIN_SECONDS = 5.0
#: What tells that we may not; anything else is no word on that.
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


@dataclass(frozen=True)
class Place:
    """Where the operator and its Service are."""

    namespace: str
    service: str
    pod: str
    pod_uid: str
    address: str


@dataclass
class _Question:
    text: str
    asked_at: float
    round: int = 0
    sample: NodeSample | None = None
    #: For its round of nodes, so that a node that joins later is not waited for.
    done: bool = False


@dataclass(frozen=True)
class _Node:
    name: str
    address: str
    unready_since: datetime | None


class NodeProof:
    """Thread-safe; `wake` is called with a release for which something is new."""

    def __init__(
        self,
        kube: Kube,
        place: Place,
        wake: Callable[[Key], None],
        *,
        leads: Callable[[], bool],
        now: Callable[[], datetime],
        rounds: Rounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._place = place
        self._wake = wake
        self._leads = leads
        self._now = now
        self._rounds = rounds or Rounds()
        self._clock = clock
        self._lock = threading.Lock()
        self._questions: dict[Key, _Question] = {}
        self._round = 0
        self._round_at = 0.0
        self._reached: dict[str, int] = {}
        self._seen: dict[str, str] = {}
        self._nodes: list[_Node] = []
        self._nodes_at: float | None = None
        self._node_port = 0
        self._ever_answered = False
        self._first_asked_at: float | None = None
        self._refused = ""
        self._closing = threading.Event()
        self._news = threading.Event()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="node")
        self._thread = threading.Thread(target=self._run, name="node-proof", daemon=True)

    def start(self) -> None:
        self._rounds.start()
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._rounds.close()

    def want(self, key: Key, question: str) -> None:
        """Find out about this question from now on; an empty one ends that."""
        with self._lock:
            former = self._questions.get(key)
            if not question:
                self._questions.pop(key, None)
            elif former is None or former.text != question:
                self._questions[key] = _Question(question, self._clock())
                self._news.set()

    def newest(self, key: Key) -> NodeSample:
        """What is known for a release; about no question at all where nothing is known yet."""
        with self._lock:
            found = self._questions.get(key)
            if found is not None and found.sample is not None:
                return found.sample
            return NodeSample("", self._now(), usable=not self._is_closed())

    def step(self) -> float | None:
        """One look at all nodes that are still to be heard of; seconds until the next, None for no more."""
        with self._lock:
            open_ = {key: each for key, each in self._questions.items() if not each.done}
        if not open_:
            metrics.NODES_BEHIND.set(0)
            return None
        if not self._leads():
            return _PATIENT_ASK_SECONDS
        now = self._clock()
        self._first_asked_at = now if self._first_asked_at is None else self._first_asked_at
        try:
            self._begin_round(open_.values(), now)
            self._list_nodes(now)
            self._refused = ""
        except ApiError as error:
            if error.status in _REFUSALS:
                self._refused = str(error)
            _log.warning("nodes cannot be asked", error=str(error))
        else:
            self._ask(max(each.round for each in open_.values()))
        for key, each in open_.items():
            self._tell(key, each)
        if self._is_closed():
            return _CLOSED_ASK_SECONDS
        waited = now - min(each.asked_at for each in open_.values())
        return _ASK_SECONDS if waited < _PATIENT_AFTER_SECONDS else _PATIENT_ASK_SECONDS

    def _run(self) -> None:
        while not self._closing.is_set():
            self._news.clear()
            after: float | None = _PATIENT_ASK_SECONDS
            try:
                after = self.step()
            except Exception:  # noqa: BLE001
                # A defect here must not end what every upgrade waits for.
                _log.exception("asking the nodes ended in a defect")
            self._news.wait(after)

    def _begin_round(self, questions: Iterable[_Question], now: float) -> None:
        unassigned = [each for each in questions if not each.round]
        if not unassigned or (self._round and now - self._round_at < _ROUND_SECONDS):
            return
        if not self._node_port:
            self._node_port = self._find_node_port()
        number = self._round + 1
        port = self._rounds.open(number)
        self._write(port)
        self._round, self._round_at = number, now
        for each in unassigned:
            each.round = number

    def _find_node_port(self) -> int:
        service = self._kube.get("Service", self._place.namespace, self._place.service)
        ports = ((service or {}).get("spec") or {}).get("ports") or [{}]
        found = int(ports[0].get("nodePort") or 0)
        if not found:
            raise ApiError(404, "NotFound", f"Service {self._place.service} has no node port")
        return found

    def _write(self, port: int) -> None:
        """Lead the Service to this pod and that port."""
        place, kind = self._place, "EndpointSlice"
        name = f"{place.service}-{place.pod}"[:253]
        ports = [{"name": "rounds", "port": port, "protocol": "TCP"}]
        if self._round:
            try:
                self._kube.merge(kind, place.namespace, name, {"ports": ports})
            except NotFoundError:
                _log.warning("somebody deleted the way through nodes; making it again", slice=name)
            else:
                return
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": kind,
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/service-name": place.service,
                    "endpointslice.kubernetes.io/managed-by": names.GROUP,
                },
                # It must not outlive the pod that it leads to.
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": place.pod, "uid": place.pod_uid}
                ],
            },
            "addressType": "IPv6" if ":" in place.address else "IPv4",
            "endpoints": [{"addresses": [place.address], "conditions": {"ready": True}}],
            "ports": ports,
        }
        try:
            self._kube.create(kind, place.namespace, manifest)
        except AlreadyExistsError:
            # This pod's container was started anew.
            self._kube.merge(kind, place.namespace, name, {"ports": ports})

    def _list_nodes(self, now: float) -> None:
        if self._nodes_at is not None and now - self._nodes_at < _NODES_SECONDS:
            return
        wants_v6 = ":" in self._place.address
        pages = self._kube.pages("Node", None)
        found = (_node(item, wants_v6) for page in pages for item in page.items)
        self._nodes = [node for node in found if node is not None]
        self._nodes_at = now

    def _ask(self, needed: int) -> None:
        silent = [node for node in self._nodes if self._reached.get(node.name, 0) < needed]
        for node, (number, seen) in zip(silent, self._pool.map(self._through, silent), strict=True):
            self._seen[node.name] = seen
            if number:
                self._reached[node.name] = max(number, self._reached.get(node.name, 0))
                self._ever_answered = True

    def _through(self, node: _Node) -> tuple[int, str]:
        seen = ""
        for _ in range(_TRIES):
            try:
                number = self._rounds.reached(node.address, self._node_port)
            except AnotherReplicaError as error:
                seen = str(error)
            except TimeoutError:
                return 0, "no answer through it"
            except OSError as error:
                return 0, error.strerror or str(error)
            else:
                return number, "still shows an earlier state"
        return 0, seen

    def _is_closed(self) -> bool:
        """Whether nothing can be learned from nodes: we may not ask, or none ever answered."""
        if self._refused:
            return True
        first = self._first_asked_at
        return (
            not self._ever_answered and first is not None and self._clock() - first >= _USABLE_WITHIN_SECONDS
        )

    def _tell(self, key: Key, question: _Question) -> None:
        with self._lock:
            former = question.sample
            closed = self._is_closed()
            if not closed and (not question.round or not self._ever_answered):
                return
            states = _states(self._nodes, self._reached, self._seen, question.round)
            question.sample = NodeSample(question.text, self._now(), usable=not closed, nodes=states)
            question.done = not closed and all(state.follows for state in states)
            news = former is None or (former.usable, former.nodes) != (not closed, states)
        metrics.NODES_BEHIND.set(sum(not state.follows for state in states))
        metrics.NODE_PROOF_USABLE.set(0 if closed else 1)
        if news:
            behind = [f"{state.name}: {state.seen}" for state in states if not state.follows]
            _log.info("nodes asked", question=question.text, usable=not closed, behind=behind[:10])
            self._wake(key)


def _states(
    nodes: Iterable[_Node], reached: Mapping[str, int], seen: Mapping[str, str], needed: int
) -> tuple[NodeState, ...]:
    states = []
    for node in nodes:
        follows = reached.get(node.name, 0) >= needed > 0
        said = "" if follows else seen.get(node.name, "not asked yet")
        states.append(NodeState(node.name, follows, said, node.unready_since))
    return tuple(states)


def _node(item: Object, wants_v6: bool) -> _Node | None:
    """A node that can be asked; one that is labelled away or has no address of our kind is none."""
    metadata, status = item["metadata"], item.get("status") or {}
    if (metadata.get("labels") or {}).get(names.LABEL_NODE_PROOF) == names.NODE_PROOF_IGNORE:
        return None
    addresses = [
        entry["address"]
        for entry in status.get("addresses") or []
        if entry["type"] == "InternalIP" and (":" in entry["address"]) == wants_v6
    ]
    if not addresses:
        return None
    ready = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
    unready_since = None
    if ready is None or ready["status"] != "True":
        since = (ready or {}).get("lastTransitionTime") or metadata["creationTimestamp"]
        unready_since = datetime.fromisoformat(since).astimezone(UTC)
    return _Node(metadata["name"], addresses[0], unready_since)
