"""A JSON patch that was made against an older version: the API server's own words for it do not say so."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client

from conductor.adapters.kube import ApiError, ConflictError, Kube

#: Word for word what Kubernetes 1.35 answers to a `test` that fails, and to a path that does not exist.
REFUSAL = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "the server rejected our request due to an error in our request",
    "reason": "Invalid",
    "details": {},
    "code": 422,
}
PATCH: list[dict[str, Any]] = [
    {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
    {"op": "replace", "path": "/spec/selector", "value": {"app": "mc"}},
]


@contextmanager
def server(version: str | None) -> Iterator[Kube]:
    """An API server that refuses every patch; `version` is what its one object has."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"metadata": {"name": "mc-api", "resourceVersion": version}}
            missing = {"reason": "NotFound", "message": "services mc-api not found"}
            self._answer(*((200, found) if version else (404, missing)))

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(422, REFUSAL)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """A test is no place for an access log."""

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{listening.server_port}")
    try:
        with client.ApiClient(settings) as api:
            yield Kube(api)
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.parametrize("version", ["8", None], ids=["moved", "gone"])
def test_a_patch_against_an_older_version_is_a_conflict(version: str | None) -> None:
    with server(version) as kube, pytest.raises(ConflictError):
        kube.patch("Service", "prod", "mc-api", PATCH)


def test_a_patch_that_the_server_refuses_at_the_tested_version_is_none() -> None:
    with server("7") as kube, pytest.raises(ApiError) as refusal:
        kube.patch("Service", "prod", "mc-api", PATCH)
    assert not isinstance(refusal.value, ConflictError)
    assert refusal.value.status == 422


def test_a_patch_that_tests_nothing_is_no_conflict() -> None:
    with server("8") as kube, pytest.raises(ApiError) as refusal:
        kube.patch("Service", "prod", "mc-api", PATCH[1:])
    assert not isinstance(refusal.value, ConflictError)
