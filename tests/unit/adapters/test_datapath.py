"""Verification requests: what is told of an answer that somebody else wrote."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.adapters.servers import Asked, ToThisMachine, says, server

from conductor.adapters.datapath import send
from conductor.adapters.outbound import Outbound
from conductor.domain.sampling import Request


def sent(asked: Asked, **changes: Any) -> str | None:
    wanted: dict[str, Any] = {
        "port": asked.port,
        "method": "GET",
        "path": "/version",
        "body": None,
        "expect_status": 200,
        "version": "1.1.0",
        "version_header": None,
        "version_json": "version",
    }
    return send(ToThisMachine(), "127.0.0.1", Request(**(wanted | changes)))


def test_the_answer_that_was_asked_for() -> None:
    with server(says('{"version": "1.1.0"}', headers="X-Version: 1.1.0\r\n")) as asked:
        assert sent(asked) is None
        assert sent(asked, version_json=None, version_header="x-version") is None
        assert sent(asked, method="POST", body='{"a": 1}') is None
    assert "authorization" not in asked.requests[0].lower()
    assert asked.requests[2].endswith('{"a": 1}')


def test_a_gateway_is_asked_for_the_host_of_its_route_with_what_the_route_matches() -> None:
    with server(says('{"version": "1.1.0"}')) as asked:
        assert (
            sent(asked, host="mc.example.org", headers=(("X-Tenant", "a"), ("User-Agent", "theirs"))) is None
        )
    lines = asked.requests[0].split("\r\n")
    assert [line for line in lines if line.startswith("Host:")] == ["Host: mc.example.org"]
    assert "X-Tenant: a" in lines
    assert "User-Agent: maestro-conductor" in lines


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"version": "1.0.0"}', "version 1.0.0 instead of 1.1.0"),
        (
            '{"version": "a token that only the pod should see"}',
            "something that is no version instead of 1.1.0",
        ),
        ('{"version": {"deep": "secret"}}', "something that is no version instead of 1.1.0"),
        ('{"version": "1.0.0-' + "a" * 100 + '"}', "something that is no version instead of 1.1.0"),
        ('{"other": "1.0.0"}', "version none instead of 1.1.0"),
        ("[" * 60_000, "version none instead of 1.1.0"),
    ],
)
def test_only_what_reads_as_a_version_is_told_on(body: str, told: str) -> None:
    with server(says(body)) as asked:
        found = sent(asked)
    assert found is not None
    assert found.endswith(told)
    assert "secret" not in found


def test_a_redirect_is_not_followed() -> None:
    with (
        server(says("{}")) as inside,
        server(says("", "302 Found", f"Location: {inside.url}/\r\n")) as asked,
    ):
        assert sent(asked) == "GET /version: status 302 instead of 200"
        assert inside.requests == []


def test_an_address_that_is_never_asked() -> None:
    request = Request(80, "GET", "/latest/meta-data", None, 200, "1.1.0", None, None)
    assert send(Outbound(), "169.254.169.254", request) == "GET /latest/meta-data: ForbiddenAddressError"
