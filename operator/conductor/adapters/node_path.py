"""The operator's own end of a connection through a node: listeners that tell which round they belong to."""

import secrets
import selectors
import socket
import threading
from collections import OrderedDict

_BACKLOG = 128
_ANSWER_BYTES = 64
_TIMEOUT_SECONDS = 1.0
#: Nodes that are a round or two behind still answer, and so prove what was asked in that round.
_KEPT_ROUNDS = 8
#: A port that was used is not used again for so long: a node that stood still since then would seem to follow.
_REMEMBERED_PORTS = 10_000
_BIND_TRIES = 100


class PortsExhaustedError(OSError):
    """No port was free that had not been used for an earlier round."""


class AnotherReplicaError(ConnectionError):
    """The connection ended at another replica of the operator, which shares the Service."""


class Rounds:
    """One listening port per round. Whoever connects is told the round, in words that no other process uses."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._open: OrderedDict[int, socket.socket] = OrderedDict()
        self._used: OrderedDict[int, None] = OrderedDict()
        # A byte in it ends the thread, which otherwise sleeps until somebody connects.
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="node-rounds", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.sendall(b"x")
        if self._thread.ident is not None:
            self._thread.join(timeout=2 * _TIMEOUT_SECONDS)
        for each in (*self._open.values(), self._stop, self._stopped):
            each.close()
        self._selector.close()

    def open(self, number: int) -> int:
        """Listen for a new round; answers the port. Raises OSError."""
        listener = self._fresh()
        port = int(listener.getsockname()[1])
        with self._lock:
            self._open[number] = listener
            self._selector.register(listener, selectors.EVENT_READ, number)
            while len(self._open) > _KEPT_ROUNDS:
                _, oldest = self._open.popitem(last=False)
                self._selector.unregister(oldest)
                oldest.close()
        return port

    def reached(self, address: str, port: int) -> int:
        """The round that a connection to this address ends in. Raises OSError where it ends nowhere of ours."""
        with socket.create_connection((address, port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            said = b""
            while len(said) < _ANSWER_BYTES and (chunk := connection.recv(_ANSWER_BYTES)):
                said += chunk
        token, _, number = said.decode(errors="replace").partition(" ")
        if token != self._token or not number.isdecimal():
            raise AnotherReplicaError("answered by another replica of the operator")
        return int(number)

    def _fresh(self) -> socket.socket:
        for _ in range(_BIND_TRIES):
            listener = socket.create_server(
                ("", 0), family=_family(), backlog=_BACKLOG, dualstack_ipv6=socket.has_dualstack_ipv6()
            )
            port = int(listener.getsockname()[1])
            if port not in self._used:
                listener.setblocking(False)
                self._used[port] = None
                while len(self._used) > _REMEMBERED_PORTS:
                    self._used.popitem(last=False)
                return listener
            listener.close()
        raise PortsExhaustedError(f"{_BIND_TRIES} ports in a row had been used before")

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                if isinstance(key.fileobj, socket.socket):
                    self._answer(key.fileobj, int(key.data))

    def _answer(self, listener: socket.socket, number: int) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            # Gone again before it was taken, or the round is over.
            return
        with connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            try:
                connection.sendall(f"{self._token} {number}".encode())
            except OSError:
                # Whoever asked has hung up; it asks again.
                return


def _family() -> socket.AddressFamily:
    return socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
