"""Runs in a pod of `bench/scale.py`: counts requests that nobody sent, for every pod that a Service leads to.

All of it is synthetic: each ready pod of a release that one of the release's Services selects answers a fixed
number of requests a second, all of them well and quickly; a pod that no Service selects answers none. What a
release is judged by is therefore the same for all of them, and Prometheus is asked as in earnest.
"""

import time
from collections.abc import Iterable
from wsgiref.simple_server import WSGIRequestHandler, make_server

from conductor.adapters.kube import Kube
from conductor.api import names
from conductor.domain.snapshot import Pod, ServiceState
from conductor.observe.cache import Cache, Key
from conductor.observe.parsed import Parsed
from conductor.runtime.reflectors import Reflector

PORT = 9100
REQUESTS_A_SECOND = 200.0
KINDS = ("Pod", "Service")


class Traffic:
    """Counters by pod."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._counts: dict[tuple[str, str], float] = {}
        self._at = time.monotonic()

    def scrape(self, releases: Iterable[Key]) -> str:
        """What a scrape shows now."""
        now = time.monotonic()
        grown, self._at = REQUESTS_A_SECOND * (now - self._at), now
        counts: dict[tuple[str, str], float] = {}
        for key in releases:
            values = self._cache.values(key)
            services = [item for item in values.get("Service", {}).values() if isinstance(item, ServiceState)]
            for pod in values.get("Pod", {}).values():
                if isinstance(pod, Pod):
                    former = self._counts.get((key[0], pod.name), 0.0)
                    counts[key[0], pod.name] = former + (grown if _served(pod, key[1], services) else 0.0)
        self._counts = counts
        return "".join(_series(namespace, pod, count) for (namespace, pod), count in counts.items())


def _served(pod: Pod, release: str, services: list[ServiceState]) -> bool:
    labels = {
        names.LABEL_RELEASE: release,
        names.LABEL_COMPONENT: pod.component,
        names.LABEL_REVISION: pod.revision,
        names.LABEL_COLOUR: str(pod.colour),
        names.LABEL_SERVING: "true" if pod.serving else "false",
    }
    return pod.ready and any(service.selector.items() <= labels.items() for service in services)


def _series(namespace: str, pod: str, count: float) -> str:
    labels = f'namespace="{namespace}",pod="{pod}",path="/",status="200"'
    name = "http_request_duration_seconds"
    return (
        f'{name}_bucket{{{labels},le="0.1"}} {count:.0f}\n'
        f'{name}_bucket{{{labels},le="+Inf"}} {count:.0f}\n'
        f"{name}_count{{{labels}}} {count:.0f}\n"
    )


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """A scrape is not news."""


def main() -> None:
    cache = Cache(lambda _: None, Parsed(), KINDS)
    for kind in KINDS:
        Reflector(Kube.connect(), kind, None, cache).start()
    traffic = Traffic(cache)

    def app(_environ: object, start_response: object) -> list[bytes]:
        assert callable(start_response)
        start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4")])
        return [traffic.scrape(cache.owners()).encode()]

    make_server("", PORT, app, handler_class=_Quiet).serve_forever()


if __name__ == "__main__":
    main()
