"""The PostgreSQL servers of mc in tests: statements by psql in their pods; a standby that streams, waits, is cut off,
goes or is promoted; and the failover to it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.kube import Kube, KubectlError, in_namespace, read_manifests
from harness.waiting import poll, wait_for_object, wait_gone

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
PRIMARY_MANIFEST = MANIFESTS / "postgres.yaml"
STANDBY_MANIFEST = MANIFESTS / "postgres-standby.yaml"
#: StatefulSet and Service alike; a failover leads each Service to the other one's pods.
PRIMARY, STANDBY = "postgres", "postgres-standby"
#: Of the Secret mc-database: the URL of Service postgres-standby.
REPLICA_KEY = "replica"
READY_SECONDS = 180.0
CATCH_UP_SECONDS = 60.0
SQL_SECONDS = 120.0
#: A client that works for as long as its session lives: each second it asks again.
_EVERY_SECOND = "{query}\n\\watch 1\n"
#: An idle standby hears from its primary every few seconds; streaming is what it says of its receiver.
_STREAMS = "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
_LOCALLY = "postgresql://{role}:only-for-tests@127.0.0.1/mc?application_name={application}"  # pragma: allowlist secret
_SELECTED_BY = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Server:
    """One PostgreSQL: a StatefulSet of one pod."""

    kube: Kube
    namespace: str
    name: str = PRIMARY

    @property
    def pod(self) -> str:
        return f"{self.name}-0"

    def sql(
        self, statements: str, *, role: str = "mc", application: str = "psql", timeout: float = SQL_SECONDS
    ) -> str:
        """What psql in its pod answers. Raises KubectlError at the first statement that fails."""
        return self.kube.kubectl(
            *("exec", "--namespace", self.namespace, "-i", self.pod, "--"),
            *("psql", "--quiet", "--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"),
            _LOCALLY.format(role=role, application=application),
            stdin=statements,
            timeout=timeout,
        )

    def value(self, query: str) -> str:
        return self.sql(query).strip()

    def holds(self, query: str) -> bool:
        return self.value(query) == "t"

    def wait_for(self, query: str, *, what: str, deadline_seconds: float = CATCH_UP_SECONDS) -> None:
        """Until a query says true; a server that is just starting is asked again."""
        said = ""

        def asked() -> bool | None:
            nonlocal said
            try:
                said = self.value(query)
            except KubectlError as error:
                said = str(error)
            return True if said == "t" else None

        poll(asked, what=f"{self.pod}: {what}", deadline_seconds=deadline_seconds, last_seen=lambda: said)

    def wait_ready(self, *, other_than: str = "", deadline_seconds: float = READY_SECONDS) -> None:
        """Until its pod, and another one than that of this uid, accepts connections."""
        wait_for_object(
            self.kube, "Pod", self.pod, self.namespace,
            lambda pod: pod["metadata"]["uid"] != other_than and is_ready(pod),
            what="PostgreSQL to be ready", deadline_seconds=deadline_seconds,
        )  # fmt: skip

    def uid(self) -> str:
        return str(self.kube.need("Pod", self.pod, self.namespace)["metadata"]["uid"])

    # --- as a standby

    def wait_streaming(self) -> None:
        self.wait_for(_STREAMS, what="to stream from its primary", deadline_seconds=READY_SECONDS)

    def wait_caught_up(self, primary: Server) -> None:
        """Until it has replayed all that its primary has now."""
        lsn = primary.value("SELECT pg_current_wal_lsn()")
        self.wait_for(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'", what=f"to replay {lsn}")

    def pause(self) -> None:
        self.sql("SELECT pg_wal_replay_pause()")
        self.wait_for("SELECT pg_get_wal_replay_pause_state() = 'paused'", what="replay to be paused")

    def resume(self) -> None:
        self.sql("SELECT pg_wal_replay_resume()")

    def set(self, name: str, value: str) -> None:
        """A setting in force from now on; `DEFAULT` takes it back."""
        self.sql(f"ALTER SYSTEM SET {name} = {value}; SELECT pg_reload_conf()")

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """It receives nothing for the block."""
        conninfo = self.value("SELECT current_setting('primary_conninfo')").replace("'", "''")
        self.set("primary_conninfo", "''")
        try:
            self.wait_for(
                "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)", what="its receiver to have ended"
            )
            yield
        finally:
            self.set("primary_conninfo", f"'{conninfo}'")

    @contextmanager
    def gone(self) -> Iterator[None]:
        """There is no pod of it for the block; afterwards it begins anew with a copy of its primary."""
        self.kube.scale("StatefulSet", self.name, self.namespace, 0)
        try:
            wait_gone(self.kube, "Pod", self.pod, self.namespace)
            yield
        finally:
            self.kube.scale("StatefulSet", self.name, self.namespace, 1)
            self.wait_ready()
            self.wait_streaming()

    def promote(self) -> None:
        """It takes writes of its own, whoever else does."""
        self.sql("SELECT pg_promote()")
        self.wait_for("SELECT NOT pg_is_in_recovery()", what="to be promoted")

    def make_anew(self) -> None:
        """Its data goes with its pod; the next one copies the primary again."""
        former = self.uid()
        self.kube.delete("Pod", self.pod, self.namespace)
        self.wait_ready(other_than=former)
        self.wait_streaming()

    @contextmanager
    def held_session(self, role: str, query: str, *, application: str) -> Iterator[Future[str]]:
        """A client of this role asks every second for as long as its session lives; the future says how it ended."""
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(
                self.sql, _EVERY_SECOND.format(query=query), role=role, application=application, timeout=900
            )
            session = f"FROM pg_stat_activity WHERE application_name = '{application}'"
            try:
                self.wait_for(f"SELECT EXISTS (SELECT {session})", what=f"a session of {role}")
                yield future
            finally:
                self.sql(f"SELECT pg_terminate_backend(pid) {session}")


def fail_over(primary: Server, standby: Server) -> None:
    """The primary goes for good, the standby takes its place, and a new one follows it.

    Afterwards StatefulSet `postgres-standby` is the primary and `postgres` the standby; both Services lead to what
    their names say, so that nobody's URL changes.
    """
    kube, namespace = primary.kube, primary.namespace
    standby.wait_caught_up(primary)
    kube.delete("StatefulSet", primary.name, namespace)
    wait_gone(kube, "StatefulSet", primary.name, namespace)
    # Waiting is what keeps two from taking writes: the pod is there until its processes are not.
    kube.delete("Pod", primary.pod, namespace, grace_seconds=1)
    wait_gone(kube, "Pod", primary.pod, namespace)
    standby.promote()
    for service, leads_to in ((PRIMARY, standby.name), (STANDBY, primary.name)):
        kube.patch("Service", service, namespace, {"spec": {"selector": {_SELECTED_BY: leads_to}}})
    kube.apply(in_namespace(following(_stateful_set(PRIMARY_MANIFEST)), namespace))
    primary.wait_ready()
    primary.wait_streaming()


def following(stateful_set: dict[str, Any]) -> dict[str, Any]:
    """The same server as a standby of whatever Service `postgres` leads to."""
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    reference = {"secretKeyRef": {"name": "mc-database", "key": "url"}}
    container["env"].append({"name": "POSTGRES_PRIMARY_URL", "valueFrom": reference})
    return stateful_set


def _stateful_set(manifest: Path) -> dict[str, Any]:
    (found,) = (obj for obj in read_manifests(manifest) if obj["kind"] == "StatefulSet")
    return found


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
