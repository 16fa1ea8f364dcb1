"""Where requests may lead, how long they may take, how much they may bring back."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.adapters.servers import Asked, ToThisMachine, says, server, trickles

from conductor.adapters.outbound import Answer, Bounds, ForbiddenAddressError, Outbound, TooLargeError

API_SERVER = "10.96.0.1"
HALF_A_SECOND = Bounds(seconds=0.5, body_bytes=1000)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key, self-signed."""
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def ask(asked: Asked, bounds: Bounds = HALF_A_SECOND, tls: ssl.SSLContext | None = None) -> Answer:
    return ToThisMachine().exchange("GET", "/", host="127.0.0.1", port=asked.port, bounds=bounds, tls=tls)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "224.0.0.1", "100.100.100.200", "168.63.129.16",
     "::1", "::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
     API_SERVER, f"::ffff:{API_SERVER}"],
)  # fmt: skip
def test_addresses_that_are_never_asked(address: str) -> None:
    assert Outbound([ipaddress.ip_address(API_SERVER)]).refusal(address) is not None


@pytest.mark.parametrize("address", ["10.96.0.2", "192.168.1.1", "fd00::1", "203.0.113.9"])
def test_addresses_of_services_are_asked(address: str) -> None:
    assert Outbound([ipaddress.ip_address(API_SERVER)]).refusal(address) is None


def test_the_api_server_of_the_pod_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", API_SERVER)
    assert Outbound.of_this_pod().refusal(API_SERVER) is not None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "api.example.com")
    assert Outbound.of_this_pod().refusal(API_SERVER) is None


def test_a_name_is_judged_by_where_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the user's own that leads to this machine; nothing arrives there."""

    def rebound(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (to, port)) for to in ("203.0.113.9", "127.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with server(says("{}")) as asked:
        with pytest.raises(ForbiddenAddressError, match=r"prometheus\.prod\.svc leads to .*127\.0\.0\.1"):
            Outbound().exchange("GET", "/", host="prometheus.prod.svc", port=asked.port, bounds=HALF_A_SECOND)
        assert asked.requests == []


@pytest.mark.parametrize(
    "start",
    ["HTTP/1.1 200 OK\r\nX-Long: ", "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", "HTTP/1.1 200 O"],
)
def test_no_trickle_outlasts_the_whole_time(start: str) -> None:
    begun = time.monotonic()
    with server(trickles(start)) as asked, pytest.raises(TimeoutError):
        ask(asked)
    assert time.monotonic() - begun < 5


def test_no_trickle_outlasts_the_whole_time_under_tls(certificate: tuple[Path, Path]) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    asking = ssl.create_default_context(cafile=certificate[0])
    begun = time.monotonic()
    with server(trickles("HTTP/1.1 200 OK\r\nX-Long: "), serving) as asked, pytest.raises(TimeoutError):
        ask(asked, tls=asking)
    assert time.monotonic() - begun < 5
    assert asked.requests[0].startswith("GET / HTTP/1.1")


def test_an_unknown_certificate_is_not_talked_to(certificate: tuple[Path, Path]) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificate)
    with server(says("{}"), serving) as asked, pytest.raises(ssl.SSLCertVerificationError):
        ask(asked, tls=ssl.create_default_context())
    assert asked.requests == []


def test_what_is_too_large_is_not_taken_in() -> None:
    with server(says("x" * 1001)) as asked:
        with pytest.raises(TooLargeError):
            ask(asked)
        assert ask(asked, Bounds(5, 1000, cut=True)).body == b"x" * 1000
    with server(says("x" * 1000)) as asked:
        assert len(ask(asked).body) == 1000


def test_a_redirect_is_an_answer() -> None:
    with (
        server(says("{}")) as elsewhere,
        server(says("", "302 Found", f"Location: {elsewhere.url}/\r\n")) as asked,
    ):
        assert ask(asked).status == 302
        assert elsewhere.requests == []
