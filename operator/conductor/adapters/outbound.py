"""Requests to places that a user named: where they may lead, how long they take, how much they may answer.

Each goes over a connection of its own, carries no credentials and follows no redirect. A name is
resolved once and the address that was looked at is the one that is connected to.
"""

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

#: Metadata services that are not link-local: AWS over IPv6, Alibaba Cloud, Azure's host.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddressError(OSError):
    """The name leads to an address that is never asked for a user."""


class TooLargeError(OSError):
    """The answer is larger than any that is of use."""


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)


@dataclass(frozen=True)
class Bounds:
    """Limits of one request. `seconds` is all of it, from the first packet to the last byte."""

    seconds: float
    body_bytes: int
    #: Cut off what is more than `body_bytes`, or raise TooLargeError.
    cut: bool = False


class Outbound:
    """Opens connections, except to `forbidden` addresses and those that are nobody's business."""

    def __init__(self, forbidden: Collection[Address] = ()) -> None:
        self._forbidden = frozenset(forbidden) | _METADATA

    @classmethod
    def of_this_pod(cls) -> "Outbound":
        """The API server that this process talks to is forbidden."""
        try:
            return cls([ipaddress.ip_address(os.environ.get("KUBERNETES_SERVICE_HOST", ""))])
        except ValueError:
            return cls()

    def refusal(self, text: str) -> str | None:
        """Why this address is never asked; None where it may be."""
        address = ipaddress.ip_address(text.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address in self._forbidden:
            return f"{address} belongs to the API server or to a metadata service"
        if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
            return f"{address} is a loopback, link-local, multicast or unspecified address"
        return None

    def exchange(
        self,
        method: str,
        target: str,
        *,
        host: str,
        port: int,
        bounds: Bounds,
        tls: ssl.SSLContext | None = None,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. Raises OSError (TimeoutError, ForbiddenAddressError, ...) and http.client.HTTPException."""
        connection = _Connection(self, host, port, bounds.seconds, tls)
        try:
            connection.request(method, target, body, {"Connection": "close", **(headers or {})})
            response = connection.getresponse()
            content = response.read(bounds.body_bytes)
            if not bounds.cut and response.read(1):
                raise TooLargeError(f"the answer is larger than {bounds.body_bytes} bytes")
            return Answer(response.status, dict(response.getheaders()), content)
        finally:
            connection.close()

    def addresses(self, host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
        """Where a name leads. One forbidden address among them forbids them all: the next look would find it."""
        found: list[tuple[socket.AddressFamily, Any]] = []
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if (refusal := self.refusal(str(address[0]))) is not None:
                raise ForbiddenAddressError(f"{host} leads to an address that is never asked: {refusal}")
            found.append((family, address))
        return found


class _Deadline:
    """Mixed into sockets: each read may take what is left of the whole, so that no trickle outlasts it."""

    ends_at = 0.0

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(max(0.001, self.ends_at - time.monotonic()))  # type: ignore[attr-defined]
        received: int = super().recv_into(*arguments)  # type: ignore[misc]
        return received


class _PlainSocket(_Deadline, socket.socket):
    pass


class _TlsSocket(_Deadline, ssl.SSLSocket):
    pass


class _Connection(HTTPConnection):
    def __init__(
        self, outbound: Outbound, host: str, port: int, seconds: float, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port, timeout=seconds)
        self._outbound = outbound
        self._seconds = seconds
        self._tls = tls

    def connect(self) -> None:
        ends_at = time.monotonic() + self._seconds
        failure: OSError = OSError(f"{self.host} has no address")
        for family, address in self._outbound.addresses(self.host, self.port):
            plain = _PlainSocket(family, socket.SOCK_STREAM)
            try:
                plain.settimeout(max(0.001, ends_at - time.monotonic()))
                plain.connect(address)
                self.sock = self._wrapped(plain, ends_at)
            except OSError as error:
                plain.close()
                failure = error
            else:
                return
        raise failure

    def _wrapped(self, plain: _PlainSocket, ends_at: float) -> socket.socket:
        plain.ends_at = ends_at
        if self._tls is None:
            return plain
        self._tls.sslsocket_class = _TlsSocket
        wrapped = self._tls.wrap_socket(plain, server_hostname=self.host)
        assert isinstance(wrapped, _TlsSocket)
        wrapped.ends_at = ends_at
        return wrapped
