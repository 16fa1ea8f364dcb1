"""What Prometheus reads: each object holds the series of one part of a process."""

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

# Dense around a second, where users' limits usually lie: a quantile is only as exact as its bucket.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

# A `_created` series beside every counter doubles what a scrape carries, and nothing reads it.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def new_registry(*, component: str, version: str, colour: str | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge("mc_build_info", "What runs here.", ["component", "version", "colour"], registry=registry)
    build.labels(component, version, colour or "").set(1)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    return prometheus_client.generate_latest(registry)


class ApiMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Histogram(
            "http_request_duration_seconds",
            "From a request's head to its answer.",
            ["method", "path", "status"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self.publish_start = publish_start_histogram(registry)
        self.connections = Gauge("mc_http_connections", "Open client connections.", registry=registry)
        self.draining = Gauge(
            "mc_http_draining", "1 while the API sends its clients away.", registry=registry
        )
        self._of_request: dict[tuple[str, str, int], Histogram] = {}

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        key = (method, path, status)
        series = self._of_request.get(key)
        if series is None:
            series = self._of_request[key] = self._requests.labels(method, path, str(status))
        series.observe(seconds)


class WorkerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.publish_start = publish_start_histogram(registry)
        self.queue_wait = Histogram(
            "mc_queue_seconds",
            "From the publication of an execution until a worker claimed it.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.run = Histogram(
            "mc_run_seconds",
            "From the start of an execution to its end.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.queue_length = Gauge(
            "mc_queue_length", "Executions that wait to be claimed, counted up to 10000.", registry=registry
        )
        self.passes = Counter(
            "mc_worker_passes", "Passes of the worker over the queue.", ["outcome"], registry=registry
        )


def publish_start_histogram(registry: CollectorRegistry) -> Histogram:
    return Histogram(
        "mc_publish_start_seconds",
        "From the publication of an execution to its start, by a user's call or by a worker.",
        buckets=_WAIT_BUCKETS,
        registry=registry,
    )
