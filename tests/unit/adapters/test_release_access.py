"""What the command line asks of an API server, and what it says where it is not let."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from kubernetes import client

from conductor.adapters.release_access import AccessError, MissingReleaseError, ReleaseAccess

from .servers import Asked, Serve, says, server


def access(asked: Asked) -> ReleaseAccess:
    settings = client.Configuration(host=asked.url)
    settings.retries = False
    return ReleaseAccess(client.CustomObjectsApi(client.ApiClient(settings)), "prod")


def status(code: int, reason: str, message: str, **details: str) -> Serve:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return says(
        json.dumps(body), f"{code} {reason}", "Content-Type: application/json\r\nConnection: close\r\n"
    )


def test_config_maps_come_as_they_are_stored() -> None:
    stored = {"items": [{"metadata": {"name": "mc-receipts-6c1e-0"}, "data": {"0000000001": '{"a": 1}'}}]}
    with server(says(json.dumps(stored), headers="Connection: close\r\n")) as asked:
        found = access(asked).config_maps("maestro-conductor.io/receipts=mc")
    assert found == stored["items"]
    assert asked.requests[0].startswith(
        "GET /api/v1/namespaces/prod/configmaps?labelSelector=maestro-conductor.io/receipts%3Dmc "
    )


def test_the_right_that_is_missing_is_named() -> None:
    with (
        server(status(403, "Forbidden", "configmaps is forbidden")) as asked,
        pytest.raises(AccessError, match="ask for list on configmaps in namespace 'prod'"),
    ):
        access(asked).config_maps("a=b")


def test_a_release_that_is_not_there_is_told_apart_from_other_trouble() -> None:
    gone = status(404, "NotFound", "mc not found", name="mc")
    none = says(json.dumps({"items": []}), headers="Connection: close\r\n")

    def serve(connection: socket.socket, over: threading.Event) -> None:
        wanted = asked.requests[-1].split(" ")[1]
        (gone if wanted.endswith("/controlplanereleases/mc") else none)(connection, over)

    with server(serve) as asked, pytest.raises(MissingReleaseError, match="no release 'mc'"):
        access(asked).get("mc")
