"""A small API server over HTTP for one kind of object: pages, watches, bookmarks, a history that can be lost.

Watches are where clients go wrong, and they go wrong on the wire: so these tests use the wire.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

from conductor.adapters.kube import Kube, Object

_SELECTED = "maestro-conductor.io/release"


@dataclass
class Store:
    """Objects with the events that led to them; `oldest` is the version since which events are remembered."""

    version: int = 100
    oldest: int = 100
    objects: dict[str, Object] = field(default_factory=dict)
    events: list[tuple[int, str, Object]] = field(default_factory=list)
    lists: int = 0
    watches: int = 0
    #: Rises with every order to break the streams that are open.
    broken: int = 0
    #: HTTP status that lists answer with; 0: they work.
    refuse_lists: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, name: str, labels: dict[str, str], **more: Any) -> None:
        """Create or change an object."""
        with self.changed:
            self.version += 1
            former = self.objects.get(name)
            metadata = {
                "name": name,
                "namespace": "prod",
                "uid": f"uid-{name}",
                "labels": labels,
                "resourceVersion": str(self.version),
                "creationTimestamp": "2026-03-01T12:00:00Z",
            }
            obj: Object = {"metadata": metadata, **more}
            self.objects[name] = obj
            seen, selected = former is not None and _selected(former), _selected(obj)
            if selected:
                self.events.append((self.version, "MODIFIED" if seen else "ADDED", obj))
            elif seen:
                self.events.append((self.version, "DELETED", obj))
            self.changed.notify_all()

    def delete(self, name: str) -> None:
        with self.changed:
            self.version += 1
            obj = self.objects.pop(name)
            metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
            self.events.append((self.version, "DELETED", {**obj, "metadata": metadata}))
            self.changed.notify_all()

    def bookmark(self) -> None:
        """Tell watchers how far they are."""
        with self.changed:
            self.version += 1
            metadata = {"resourceVersion": str(self.version)}
            self.events.append((self.version, "BOOKMARK", {"metadata": metadata}))
            self.changed.notify_all()

    def break_streams(self) -> None:
        with self.changed:
            self.broken += 1
            self.changed.notify_all()

    def lose_history(self) -> None:
        """What happened so far is forgotten, and open watches end: their next try is told that it is gone."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.events.clear()
            self.broken += 1
            self.changed.notify_all()


def _selected(obj: Object) -> bool:
    return _SELECTED in obj["metadata"]["labels"]


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        assert query["labelSelector"] == _SELECTED
        if query.get("watch") == "true":
            self._watch(int(query["resourceVersion"]))
        else:
            self._list(int(query["limit"]), int(query.get("continue", 0)))

    def _list(self, limit: int, begin: int) -> None:
        with self.store.changed:
            self.store.lists += not begin
            items = sorted((o for o in self.store.objects.values() if _selected(o)), key=_name)
            version, refused = self.store.version, self.store.refuse_lists
        if refused:
            self._answer(refused, {"reason": "Refused", "message": "not now"})
            return
        more = str(begin + limit) if begin + limit < len(items) else ""
        metadata = {"resourceVersion": str(version), "continue": more}
        self._answer(200, {"metadata": metadata, "items": items[begin : begin + limit]})

    def _answer(self, status: int, answer: Object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, since: int) -> None:
        with self.store.changed:
            self.store.watches += 1
            broken = self.store.broken
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if since < self.store.oldest:
            gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            self._chunk({"type": "ERROR", "object": gone})
            self.wfile.write(b"0\r\n\r\n")
            return
        shown = since
        while (due := self._due(shown, broken)) is not None:
            for version, type_, obj in due:
                self._chunk({"type": type_, "object": obj})
                shown = version
        # Cut in the middle of an event, as a connection that breaks does.
        self.wfile.write(b'40\r\n{"type": "MODI')
        self.wfile.flush()
        self.close_connection = True

    def _due(self, since: int, broken: int) -> list[tuple[int, str, Object]] | None:
        """Events after `since`, once there are some; None when the stream is to break."""
        store = self.store

        def news() -> list[tuple[int, str, Object]]:
            return [event for event in store.events if event[0] > since]

        with store.changed:
            store.changed.wait_for(lambda: store.broken != broken or news(), timeout=30)
            return None if store.broken != broken else news()

    def _chunk(self, event: Object) -> None:
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Tests tell enough."""


@contextmanager
def serving(store: Store) -> Iterator[Kube]:
    """A connection to a server of that store."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    configuration.retries = False
    connection = client.ApiClient(configuration)
    try:
        yield Kube(connection)
    finally:
        store.break_streams()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
        connection.rest_client.pool_manager.clear()


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])
