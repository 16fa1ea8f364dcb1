"""The Kubernetes API as plain objects: get, list, create, apply, patch, delete.

Built on the client's transport and configuration; its generated models are left aside because
a template that a user wrote must come back as it was written.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kubernetes import client, config
from kubernetes.utils.keepalive import tcp_keepalive_socket_options
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from conductor.adapters.clock import ServerClock
from conductor.api import names

Object = dict[str, Any]
#: A watch on which nothing is heard for so long is opened again: bookmarks come about once a minute.
_SILENT_WATCH_SECONDS = 150.0
_READ_BYTES = 65_536


@dataclass(frozen=True)
class Resource:
    """Where objects of one kind live."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace is not None:
            base += f"/namespaces/{namespace}"
        parts = [base, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


RESOURCES: Mapping[str, Resource] = {
    names.KIND: Resource(names.GROUP, names.VERSION, names.PLURAL),
    "Deployment": Resource("apps", "v1", "deployments"),
    "ControllerRevision": Resource("apps", "v1", "controllerrevisions"),
    "Pod": Resource("", "v1", "pods"),
    "Service": Resource("", "v1", "services"),
    "ConfigMap": Resource("", "v1", "configmaps"),
    "EndpointSlice": Resource("discovery.k8s.io", "v1", "endpointslices"),
    "HTTPRoute": Resource("gateway.networking.k8s.io", "v1", "httproutes"),
    "Job": Resource("batch", "v1", "jobs"),
    "Event": Resource("events.k8s.io", "v1", "events"),
    "HorizontalPodAutoscaler": Resource("autoscaling", "v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": Resource("policy", "v1", "poddisruptionbudgets"),
    "Node": Resource("", "v1", "nodes", namespaced=False),
    "ResourceQuota": Resource("", "v1", "resourcequotas"),
    "Lease": Resource("coordination.k8s.io", "v1", "leases"),
}


class ApiError(Exception):
    """An answer other than success. `status` is the HTTP code, 0 where there was no answer at all."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(
            f"{status} {reason}: {message}" if status else f"no answer from the API server: {message}"
        )
        self.status = status
        self.reason = reason
        self.message = message


class ConflictError(ApiError):
    """The object is not as it was read: somebody wrote in between."""


class NotFoundError(ApiError):
    """There is no such object."""


class AlreadyExistsError(ApiError):
    """An object of that name is there."""


class GoneError(ApiError):
    """The moment that was asked about is too long ago."""


@dataclass(frozen=True)
class Page:
    """A part of a list; `version` is that of the whole list."""

    items: list[Object]
    version: str


@dataclass(frozen=True)
class Event:
    """One thing that a watch showed: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class Kube:
    """A connection to one API server. Every call is bounded in time, and tells `clock` when it was answered."""

    def __init__(
        self, api: client.ApiClient, timeout_seconds: float = 10.0, clock: ServerClock | None = None
    ) -> None:
        self._api = api
        self._timeout = timeout_seconds
        self._server_clock = clock or ServerClock()

    @classmethod
    def connect(
        cls, timeout_seconds: float = 10.0, connections: int = 32, clock: ServerClock | None = None
    ) -> "Kube":
        """In-cluster credentials where there are some, else the current kubeconfig."""
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            config.load_kube_config(client_configuration=configuration)
        configuration.retries = False
        configuration.connection_pool_maxsize = connections
        # A peer that vanished without a word is noticed in half a minute, also by a watch that only listens.
        configuration.socket_options = tcp_keepalive_socket_options(idle=15, interval=5, count=3)
        return cls(client.ApiClient(configuration), timeout_seconds, clock)

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return self._call("GET", RESOURCES[kind].path(namespace, name))
        except NotFoundError:
            return None

    def served(self, kind: str) -> bool:
        """Whether the API server knows that kind at all."""
        resource = RESOURCES[kind]
        try:
            found = self._call("GET", f"/apis/{resource.group}/{resource.version}")
        except NotFoundError:
            return False
        return any(item.get("name") == resource.plural for item in found.get("resources") or [])

    def list(self, kind: str, namespace: str | None, labels: str = "", fields: str = "") -> list[Object]:
        """Objects that match the selectors, as the API server has them now."""
        query = [
            (key, value) for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value
        ]
        found = self._call("GET", RESOURCES[kind].path(namespace), query)
        items: list[Object] = found.get("items", [])
        return items

    def pages(self, kind: str, namespace: str | None, labels: str = "", size: int = 50) -> Iterator[Page]:
        """All objects of one moment, `size` at a time, so that never more than a page of them is in memory.

        Raises GoneError where that moment is too long ago for the rest of them.
        """
        query = [("labelSelector", labels)] if labels else []
        following = ""
        while True:
            more = [("limit", str(size)), *([("continue", following)] if following else [])]
            found = self._call("GET", RESOURCES[kind].path(namespace), [*query, *more])
            metadata = found["metadata"]
            following = metadata.get("continue") or ""
            yield Page(found.get("items") or [], metadata["resourceVersion"])
            if not following:
                return

    def watch(
        self, kind: str, namespace: str | None, version: str, labels: str = "", seconds: int = 300
    ) -> Iterator[Event]:
        """What happens to objects since `version`, until the server ends it after `seconds`.

        Raises GoneError where the server does not remember that version, ApiError where the stream breaks.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(seconds)),
            *([("labelSelector", labels)] if labels else []),
        ]
        with _unanswered():
            response = self._send(
                "GET",
                RESOURCES[kind].path(namespace),
                query,
                {"Accept": "application/json"},
                timeout=Timeout(connect=self._timeout, read=_SILENT_WATCH_SECONDS),
                preload_content=False,
            )
        try:
            if response.status != HTTPStatus.OK:
                raise _error(response.status, response.read())
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise _failure(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
                yield Event(event["type"], event["object"])
        finally:
            response.close()
            response.release_conn()

    def create(self, kind: str, namespace: str, manifest: Object) -> Object:
        """Create; raises AlreadyExistsError."""
        return self._call(
            "POST",
            RESOURCES[kind].path(namespace),
            [("fieldManager", names.FIELD_MANAGER)],
            manifest,
            "application/json",
        )

    def apply(self, manifest: Object, dry_run: bool = False) -> Object:
        """Server-side apply an object that we own."""
        metadata = manifest["metadata"]
        query = [("fieldManager", names.FIELD_MANAGER), ("force", "true")]
        if dry_run:
            query.append(("dryRun", "All"))
        path = RESOURCES[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        return self._call("PATCH", path, query, manifest, "application/apply-patch+yaml")

    def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        dry_run: bool = False,
    ) -> Object:
        """JSON patch; a `test` of the resource version that fails raises ConflictError."""
        query = [("fieldManager", names.FIELD_MANAGER), *([("dryRun", "All")] if dry_run else [])]
        try:
            return self._call(
                "PATCH",
                RESOURCES[kind].path(namespace, name),
                query,
                list(operations),
                "application/json-patch+json",
            )
        except ApiError as error:
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY and self._moved(
                kind, namespace, name, operations
            ):
                raise ConflictError(error.status, error.reason, error.message) from error
            raise

    def _moved(self, kind: str, namespace: str, name: str, operations: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the object is not at the version that the patch tests any more.

        The API server gives one and the same answer to a `test` that failed and to a patch that it cannot
        apply at all ("the server rejected our request due to an error in our request"): one has to look.
        """
        tested = [
            operation["value"]
            for operation in operations
            if (operation["op"], operation["path"]) == ("test", "/metadata/resourceVersion")
        ]
        if not tested:
            return False
        found = self.get(kind, namespace, name)
        return found is None or found["metadata"]["resourceVersion"] not in tested

    def merge(
        self, kind: str, namespace: str, name: str, change: Object, subresource: str | None = None
    ) -> Object:
        """JSON merge patch; with `metadata.resourceVersion` in it, it raises ConflictError where that is old."""
        return self._call(
            "PATCH",
            RESOURCES[kind].path(namespace, name, subresource),
            [("fieldManager", names.FIELD_MANAGER)],
            change,
            "application/merge-patch+json",
        )

    def replace(self, kind: str, namespace: str, manifest: Object, subresource: str | None = None) -> Object:
        """Replace; its resourceVersion must be the present one."""
        path = RESOURCES[kind].path(namespace, manifest["metadata"]["name"], subresource)
        return self._call("PUT", path, [("fieldManager", names.FIELD_MANAGER)], manifest, "application/json")

    def delete(
        self, kind: str, namespace: str, name: str, uid: str | None = None, version: str | None = None
    ) -> None:
        """Delete, with its dependents in the background; what is gone is done.

        Another UID or resource version than the one given raises ConflictError.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        expected = {"uid": uid, "resourceVersion": version}
        if preconditions := {key: value for key, value in expected.items() if value is not None}:
            options["preconditions"] = preconditions
        try:
            self._call("DELETE", RESOURCES[kind].path(namespace, name), [], options, "application/json")
        except NotFoundError:
            return

    def _call(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        content_type: str | None = None,
    ) -> Object:
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if content_type else {})}
        asked = self._server_clock.monotonic()
        with _unanswered():
            # The pool itself: the client's way to it costs as much again for each request.
            response = self._send(
                method,
                path,
                query,
                headers,
                body=None if body is None else json.dumps(body, separators=(",", ":")),
                timeout=Timeout(self._timeout),
            )
        data = response.data
        self._server_clock.told(response.headers.get("Date"), asked, self._server_clock.monotonic())
        if 200 <= response.status < 300:
            answer: Object = json.loads(data) if data else {}
            return answer
        raise _error(response.status, data)

    def _send(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        *,
        body: str | None = None,
        timeout: Timeout,
        preload_content: bool = True,
    ) -> BaseHTTPResponse:
        """One request with the client's address, credentials and connections."""
        _, url, prepared, _, _ = self._api.param_serialize(
            method, path, query_params=list(query), header_params=dict(headers), auth_settings=["BearerToken"]
        )
        return self._api.rest_client.pool_manager.request(
            method,
            url,
            headers=prepared,
            body=body,
            timeout=timeout,
            preload_content=preload_content,
            retries=False,
        )


@contextmanager
def _unanswered() -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError) as error:
        raise ApiError(0, "NoAnswer", str(error)) from error


def _lines(response: BaseHTTPResponse) -> Iterator[bytes]:
    left = b""
    stream = response.stream(_READ_BYTES, decode_content=False)
    while True:
        with _unanswered():
            chunk = next(stream, None)
        if chunk is None:
            return
        *lines, left = (left + chunk).split(b"\n")
        yield from (line for line in lines if line)


def _error(status: int, data: bytes) -> ApiError:
    try:
        answer = json.loads(data)
    except ValueError:
        return ApiError(status, "Unreadable", data[:200].decode(errors="replace"))
    return _failure(status, answer.get("reason", ""), answer.get("message", ""))


def _failure(status: int, reason: str, message: str) -> ApiError:
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(status, reason, message)
    if status == HTTPStatus.GONE:
        return GoneError(status, reason, message)
    if status == HTTPStatus.CONFLICT:
        return (
            AlreadyExistsError(status, reason, message)
            if reason == "AlreadyExists"
            else ConflictError(status, reason, message)
        )
    return ApiError(status, reason, message)
