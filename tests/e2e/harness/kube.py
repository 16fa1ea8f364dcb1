"""The cluster's API for tests: one `kubectl proxy` on a Unix socket, then plain HTTP, so that a look costs little.

kubectl reads the kubeconfig, whichever way of logging in it asks for; `exec` is left to kubectl as well.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

Object = dict[str, Any]

FIELD_MANAGER = "harness"
REQUEST_TIMEOUT_SECONDS = 30.0
PROXY_START_SECONDS = 20.0

API_VERSIONS: Mapping[str, str] = {
    "Namespace": "v1",
    "Node": "v1",
    "Pod": "v1",
    "Service": "v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Event": "v1",
    "ServiceAccount": "v1",
    "PersistentVolumeClaim": "v1",
    "ResourceQuota": "v1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "ControllerRevision": "apps/v1",
    "Job": "batch/v1",
    "Lease": "coordination.k8s.io/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "ControlPlaneRelease": "maestro-conductor.io/v1alpha1",
    "GatewayClass": "gateway.networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
}
CLUSTER_SCOPED = {
    "Namespace",
    "Node",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "GatewayClass",
}
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(Exception):
    """The API server refused; `status` is its HTTP status, the text its own message."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {message}")
        self.status = status
        self.message = message


class KubectlError(Exception):
    """kubectl ended with an error; the text holds the command and what it said."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Kube:
    """One cluster. Safe to use from several threads: every call has a connection of its own."""

    def __init__(self, socket_path: Path, kubectl: str) -> None:
        self._socket = socket_path
        self._kubectl = kubectl

    # --- objects

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object, or None where there is none."""
        try:
            return self.request("GET", self.path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def need(self, kind: str, name: str, namespace: str = "") -> Object:
        """The object. Raises ApiError (404) where there is none."""
        return self.request("GET", self.path(kind, namespace, name))

    def objects(self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Object]:
        """Objects of a kind in a namespace, or in all of them."""
        return self.list_page(kind, namespace, labels=labels, fields=fields)[0]

    def list_page(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Objects, and the resourceVersion from which a watch goes on."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = self.request("GET", self.path(kind, namespace), query=query)
        return answer.get("items") or [], answer["metadata"]["resourceVersion"]

    def apply(
        self,
        obj: Object,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = True,
        validation: str = "Strict",
        dry_run: bool = False,
    ) -> Object:
        """Server-side apply of one object; a dry run only asks whether it would be accepted."""
        metadata = obj["metadata"]
        path = self.path(obj["kind"], metadata.get("namespace", ""), metadata["name"], obj["apiVersion"])
        query = {
            "fieldManager": manager,
            "force": str(force).lower(),
            "fieldValidation": validation,
            "dryRun": "All" if dry_run else "",
        }
        return self.request("PATCH", path, query=query, body=obj, content_type="application/apply-patch+yaml")

    def apply_all(
        self, objects: Sequence[Object], *, namespace: str = "", manager: str = FIELD_MANAGER
    ) -> None:
        """Apply in the given order; objects without a namespace go into the given one."""
        for obj in objects:
            self.apply(in_namespace(obj, namespace) if namespace else obj, manager=manager)

    def patch(
        self, kind: str, name: str, namespace: str, patch: Any, *, how: str = "merge", subresource: str = ""
    ) -> Object:
        """Patch an object; `how` is merge, json or strategic."""
        path = self.path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": FIELD_MANAGER}
        return self.request("PATCH", path, query=query, body=patch, content_type=PATCH_TYPES[how])

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        self.patch(kind, name, namespace, {"spec": {"replicas": replicas}}, subresource="scale")

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> bool:
        """Ask for deletion; False where there was nothing to delete."""
        body: Object = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            self.request("DELETE", self.path(kind, namespace, name), body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    # --- streams

    def watch(
        self, kind: str, namespace: str, version: str, *, labels: str = "", fields: str = "", seconds: float
    ) -> Iterator[tuple[str, Object]]:
        """Changes after `version` as (ADDED|MODIFIED|DELETED|ERROR, object), for at most the given time."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "labelSelector": labels,
            "fieldSelector": fields,
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        for line in self.lines(self.path(kind, namespace), query=query, seconds=seconds):
            event = json.loads(line)
            yield event["type"], event["object"]

    def lines(self, path: str, *, query: Mapping[str, str], seconds: float) -> Iterator[str]:
        """The lines of a streamed answer. Ends without an error when the time is over."""
        connection = _UnixConnection(self._socket, timeout=max(seconds, 0.1))
        try:
            connection.request("GET", with_query(path, query))
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ApiError("GET", path, answer.status, _message(answer.read()))
            while line := answer.readline():
                yield line.decode(errors="replace").rstrip("\n")
        except TimeoutError:
            return
        finally:
            connection.close()

    def log(
        self,
        pod: str,
        namespace: str,
        *,
        container: str = "",
        tail: int | None = None,
        previous: bool = False,
    ) -> str:
        """What a pod wrote so far."""
        query = {"container": container, "tailLines": str(tail) if tail else ""}
        if previous:
            query["previous"] = "true"
        return self._send("GET", self.path("Pod", namespace, pod) + "/log", query, None, "").decode(
            errors="replace"
        )

    def follow_log(self, pod: str, namespace: str, *, seconds: float) -> Iterator[str]:
        """A pod's lines from its start on, as they come."""
        return self.lines(
            self.path("Pod", namespace, pod) + "/log", query={"follow": "true"}, seconds=seconds
        )

    # --- other ways in

    def service_get(self, service: str, port: int | str, namespace: str, path: str, **query: str) -> Object:
        """JSON from a Service through the API server's proxy: for Prometheus, never for load."""
        base = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy"
        return self.request("GET", base + path, query=query)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Run kubectl and answer what it printed. Raises KubectlError."""
        done = subprocess.run(
            (self._kubectl, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(
                f"kubectl {' '.join(arguments)} (exit {done.returncode}): {done.stderr.strip()}"
            )
        return done.stdout

    # --- plain requests

    def path(self, kind: str, namespace: str = "", name: str = "", api_version: str = "") -> str:
        """The URL path of a collection or an object."""
        api_version = api_version or _api_version(kind)
        root = "/api/" if "/" not in api_version else "/apis/"
        where = f"/namespaces/{namespace}" if namespace and kind not in CLUSTER_SCOPED else ""
        return f"{root}{api_version}{where}/{_plural(kind)}" + (f"/{quote(name)}" if name else "")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; the JSON object of its answer. Raises ApiError."""
        answer: Object = json.loads(self._send(method, path, query or {}, body, content_type))
        return answer

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str) -> bytes:
        connection = _UnixConnection(self._socket, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            payload = None if body is None else json.dumps(body)
            headers = {"Content-Type": content_type} if payload is not None else {}
            connection.request(method, with_query(path, query), body=payload, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ApiError(method, path, answer.status, _message(content))
        return content


@contextmanager
def connect() -> Iterator[Kube]:
    """The cluster of the current kubeconfig, through a proxy that ends with the context."""
    kubectl = shutil.which("kubectl")
    if kubectl is None or not os.environ.get("KUBECONFIG"):
        missing = "kubectl is not on PATH" if kubectl is None else "KUBECONFIG is not set"
        raise KubectlError(f"{missing}: run `make cluster-up`, and this through `scripts/cluster.sh exec`")
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        path = Path(folder) / "api.sock"
        proxy = subprocess.Popen(
            # By default it takes a pod's own path /executions for an exec.
            (kubectl, "proxy", f"--unix-socket={path}", "--reject-paths=^/api/.*/pods/[^/]*/(exec|attach)"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            # Ctrl-C must not end it before what was made through it is removed through it.
            start_new_session=True,
        )  # fmt: skip
        assert proxy.stdout is not None
        try:
            first = proxy.stdout.readline()
            if "Starting to serve" not in first:
                raise KubectlError(f"kubectl proxy did not start: {first.strip() or 'it said nothing'}")
            yield Kube(path, kubectl)
        finally:
            proxy.terminate()
            proxy.wait(PROXY_START_SECONDS)
            proxy.stdout.close()


def in_namespace(obj: Object, namespace: str) -> Object:
    """The object with a namespace, where its kind has one and it names none."""
    metadata = obj["metadata"]
    if obj["kind"] in CLUSTER_SCOPED or metadata.get("namespace"):
        return obj
    return {**obj, "metadata": {**metadata, "namespace": namespace}}


def read_manifests(path: Path) -> list[Object]:
    """The objects of a YAML file, in order."""
    return [obj for obj in yaml.safe_load_all(path.read_text()) if obj]


def with_query(path: str, query: Mapping[str, str]) -> str:
    given = {key: value for key, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def _api_version(kind: str) -> str:
    try:
        return API_VERSIONS[kind]
    except KeyError:
        raise KeyError(f"kind {kind!r}: its apiVersion is not known here; add it to API_VERSIONS") from None


def _plural(kind: str) -> str:
    lower = kind.lower()
    if lower == "endpoints":
        return lower
    if re.search(r"(s|x|ch|sh)$", lower):
        return lower + "es"
    if re.search(r"[^aeiou]y$", lower):
        return lower[:-1] + "ies"
    return lower + "s"


def _message(content: bytes) -> str:
    text = content.decode(errors="replace")
    try:
        status = json.loads(text)
    except ValueError:
        return text[:500]
    return str(status.get("message", text[:500])) if isinstance(status, dict) else text[:500]
