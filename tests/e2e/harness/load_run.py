"""Users of an application: the load generator (bench/load) as a Pod in a namespace of its own."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from harness.kube import ApiError, Kube, Object
from harness.load_summary import LoadSummary, Progress, parse_progress, parse_summary
from harness.namespaces import delete_namespace, make_namespace
from harness.waiting import WaitError, poll, wait_for_object

LOAD_IMAGE = "localhost/load:dev"
POD = "load"
DSN_SECRET = "load-verify-dsn"
START_SECONDS = 60.0
# A request in flight may take 15 s to be given up, and the ids are looked up after that.
STOP_SECONDS = 120.0
LOG_SECONDS = 3600.0
HOSTNAME_LABEL = "kubernetes.io/hostname"
RESTRICTED_POD = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class HeldClients:
    """Clients of one kind, and the Service's port for them."""

    count: int
    port: int


@dataclass(frozen=True)
class LoadPlan:
    """Who asks what, how often. The standard is 50 keep-alive and 50 one-shot clients, 350 requests/s in all."""

    url: str
    profile: str = "get"
    version_header: str = ""
    version_json: str = ""
    #: A regular expression whose first group is a version, where one answer tells several; they are joined by `+`.
    version_pattern: str = ""
    keep_alive_clients: int = 50
    one_shot_clients: int = 50
    rate: float = 350
    #: Of `rate`, what the keep-alive clients ask; 0: all clients ask equally often.
    keep_alive_rate: float = 0
    #: How far a client's time from request to request is from its mean, as a share of it.
    jitter: float = 0.5
    requests: int = 0
    duration_seconds: int = 0
    post_share: float = 0.35
    tenants: int = 4
    expect_status: int = 200
    host: str = ""
    #: Clients that hold one connection for as long as the server lets them, by kind: how many, and at which port.
    held: dict[str, HeldClients] = field(default_factory=dict)
    #: Whether the report tells what each client that keeps its connection lived through.
    each_client: bool = False
    verify_dsn: str = ""
    processors: int = 1
    #: The node that the users come from; empty: any.
    node: str = ""

    def arguments(self) -> list[str]:
        """The generator's command line; the DSN goes by the environment, because it holds a password."""
        flags: dict[str, str | int | float] = {
            "url": self.url,
            "profile": self.profile,
            "version-header": self.version_header,
            "version-json": self.version_json,
            "version-pattern": self.version_pattern,
            "keepalive": self.keep_alive_clients,
            "oneshot": self.one_shot_clients,
            "rate": self.rate,
            "keepalive-rate": self.keep_alive_rate,
            "jitter": self.jitter,
            "requests": self.requests,
            "duration": f"{self.duration_seconds}s",
            "post-share": self.post_share,
            "tenants": self.tenants,
            "expect-status": self.expect_status,
            "host": self.host,
        }
        for kind, clients in self.held.items():
            name = kind.replace("_", "-")
            flags |= {name: clients.count, f"{name}-port": clients.port}
        if self.each_client:
            flags["each-client"] = "true"
        return [f"-{name}={value}" for name, value in flags.items() if value != ""]


class LoadRun:
    """One run. `start` returns once answers come in; `stop` ends it and gives the report.

    As a context manager it starts, and at the end removes its Pod and namespace in any case.
    """

    def __init__(self, kube: Kube, plan: LoadPlan, *, name: str = "load") -> None:
        self.plan = plan
        self.namespace = f"{name}-{secrets.token_hex(3)}"
        self._kube = kube
        self._progress: list[Progress] = []
        self._summary: LoadSummary | None = None
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read_log, name=f"load-log-{self.namespace}", daemon=True)
        self._other_output: list[str] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def start(self) -> None:
        make_namespace(self._kube, self.namespace)
        for obj in self._objects():
            self._kube.apply(obj)
        pod = wait_for_object(
            self._kube, "Pod", POD, self.namespace, _has_started,
            what="the load generator to run", deadline_seconds=START_SECONDS,
        )  # fmt: skip
        self._reader.start()
        poll(
            self._first_answers,
            what=f"first answers of {self.plan.url} to load Pod {self.namespace}/{pod['metadata']['name']}",
            deadline_seconds=START_SECONDS,
            last_seen=lambda: "\n".join(self._other_output[-5:]) or "no output yet",
        )

    def stop(self) -> LoadSummary:
        """End the run, let requests in flight finish, and give the report."""
        if self._summary is None and not self._ended.is_set():
            self._kube.kubectl("exec", "--namespace", self.namespace, POD, "--", "/load", "stop")
        return self.wait_finished(STOP_SECONDS)

    def wait_finished(self, deadline_seconds: float) -> LoadSummary:
        """Wait for the end that the plan bounds the run with."""
        if not self._ended.wait(deadline_seconds) or self._summary is None:
            raise WaitError(
                f"waited {deadline_seconds:.0f} s for the report of load Pod {self.namespace}/{POD}; "
                f"last seen: {self._progress[-1] if self._progress else self._other_output[-5:]}"
            )
        return self._summary

    def remove(self) -> None:
        """Delete the Pod with its namespace; what it reported stays readable."""
        self._kube.delete("Pod", POD, self.namespace, grace_seconds=0)
        delete_namespace(self._kube, self.namespace)
        if self._reader.ident is not None:
            self._reader.join(STOP_SECONDS)

    def latest(self) -> Progress | None:
        """The last second reported."""
        return self._progress[-1] if self._progress else None

    def progress(self) -> Sequence[Progress]:
        """Every second reported so far."""
        return tuple(self._progress)

    def wait_requests(self, requests: int, *, deadline_seconds: float) -> Progress:
        """Wait until the run has made this many requests in all."""

        def enough() -> Progress | None:
            last = self.latest()
            return last if last is not None and last.requests >= requests else None

        return poll(
            enough, what=f"{requests} requests", deadline_seconds=deadline_seconds, last_seen=self.latest
        )

    def wait_version(self, version: str, *, deadline_seconds: float, only: bool = False) -> Progress:
        """Wait for a second in which this version answered (`only`: and no other one did)."""

        def answered() -> Progress | None:
            last = self.latest()
            seen = last.second_versions if last else {}
            return last if version in seen and (not only or len(seen) == 1) else None

        wanted = f"{'only ' if only else ''}answers of version {version}"
        return poll(answered, what=wanted, deadline_seconds=deadline_seconds, last_seen=self.latest)

    def _first_answers(self) -> Progress | None:
        if self._ended.is_set() and not self._progress:
            raise WaitError(
                f"load Pod {self.namespace}/{POD} ended at once: {' '.join(self._other_output[-5:])}"
            )
        last = self.latest()
        return last if last is not None and last.requests > last.failures else None

    def _read_log(self) -> None:
        """Follow the log to the summary; a stream that breaks is read again from its start."""
        while not self._ended.is_set():
            was_running = self._is_running()
            self._progress.clear()
            try:
                for line in self._kube.follow_log(POD, self.namespace, seconds=LOG_SECONDS):
                    self._take(line)
            except (ApiError, OSError) as error:
                self._other_output.append(str(error))
            if not was_running:
                self._ended.set()

    def _take(self, line: str) -> None:
        try:
            parsed = json.loads(line)
        except ValueError:
            self._other_output.append(line)
            return
        if "progress" in parsed:
            self._progress.append(parse_progress(parsed["progress"]))
        elif "summary" in parsed:
            self._summary = parse_summary(parsed["summary"])
            self._ended.set()

    def _is_running(self) -> bool:
        try:
            pod = self._kube.get("Pod", POD, self.namespace)
        except (ApiError, OSError):
            return True
        return pod is not None and pod.get("status", {}).get("phase") == "Running"

    def _objects(self) -> list[Object]:
        environment: list[Object] = [{"name": "GOMAXPROCS", "value": str(self.plan.processors)}]
        objects: list[Object] = []
        if self.plan.verify_dsn:
            objects.append(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": DSN_SECRET, "namespace": self.namespace},
                    "stringData": {"dsn": self.plan.verify_dsn},
                }
            )
            reference = {"secretKeyRef": {"name": DSN_SECRET, "key": "dsn"}}
            environment.append({"name": "VERIFY_DSN", "valueFrom": reference})
        container = {
            "name": "load",
            "image": LOAD_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "args": self.plan.arguments(),
            "env": environment,
            "securityContext": RESTRICTED_CONTAINER,
            "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": RESTRICTED_POD,
            "containers": [container],
        }
        if self.plan.node:
            spec["nodeSelector"] = {HOSTNAME_LABEL: self.plan.node}
        metadata = {"name": POD, "namespace": self.namespace}
        return [*objects, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]


def _has_started(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Running", "Succeeded", "Failed"}
