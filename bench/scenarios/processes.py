"""A program's own metrics, read through the API server's proxy: its memory, its CPU, its histograms."""

from __future__ import annotations

import math
import re
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from harness.kube import ApiError, Kube, Object

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MB = 1e6


class Metrics:
    """One scrape."""

    def __init__(self, text: Sequence[str], at: float) -> None:
        self.at = at
        self._values: dict[str, list[tuple[dict[str, str], float]]] = {}
        for line in text:
            if (match := _LINE.match(line)) is not None:
                labels = dict(_LABEL.findall(match["labels"] or ""))
                self._values.setdefault(match["name"], []).append((labels, float(match["value"])))

    def sum(self, name: str, **labels: str) -> float:
        """All series of that name that carry these labels, added up."""
        found = self._values.get(name, [])
        return sum(value for has, value in found if labels.items() <= has.items())

    def buckets(self, name: str, **only: str) -> dict[float, float]:
        """Cumulative counts by upper bound, of the series that carry these labels."""
        counts: dict[float, float] = {}
        for labels, value in self._values.get(f"{name}_bucket", []):
            if not only.items() <= labels.items():
                continue
            bound = math.inf if labels["le"] == "+Inf" else float(labels["le"])
            counts[bound] = counts.get(bound, 0.0) + value
        return counts

    @property
    def memory_mb(self) -> float:
        return self.sum("process_resident_memory_bytes") / _MB

    @property
    def cpu_seconds(self) -> float:
        return self.sum("process_cpu_seconds_total")

    @property
    def started_at(self) -> float:
        """Unix time."""
        return self.sum("process_start_time_seconds")


def quantile(before: Metrics, after: Metrics, name: str, share: float, **only: str) -> float | None:
    """The upper bound under which that share of the observations between two scrapes lies, within its bucket."""
    former = before.buckets(name, **only)
    counts = {
        bound: count - former.get(bound, 0.0) for bound, count in sorted(after.buckets(name, **only).items())
    }
    total = counts.get(math.inf, 0.0)
    if not total:
        return None
    below, last = 0.0, 0.0
    for bound, count in counts.items():
        if count >= share * total:
            if math.isinf(bound):
                return bound
            inside = count - below
            return last + (bound - last) * ((share * total - below) / inside if inside else 1.0)
        below, last = count, bound
    return math.inf


@dataclass(frozen=True)
class Process:
    """The only running pod behind a selector, and the port of its metrics."""

    kube: Kube
    namespace: str
    selector: str
    port: int

    def pod(self) -> str:
        return str(self.pod_object()["metadata"]["name"])

    def pod_object(self) -> Object:
        """Raises LookupError where there is not exactly one."""
        found = self.kube.objects("Pod", self.namespace, labels=self.selector)
        running = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        if len(running) != 1:
            raise LookupError(f"{len(running)} pods of {self.selector} in {self.namespace}; one was expected")
        return running[0]

    def read(self, pod: str = "") -> Metrics:
        """Raises ApiError while it does not answer."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod or self.pod()}:{self.port}/proxy/metrics"
        return Metrics(list(self.kube.lines(path, query={}, seconds=10)), time.monotonic())


@dataclass
class Spread:
    """Several measurements of one thing."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Spread:
        """As `as_json` gave it."""
        return cls(list(found["values"]))

    def as_json(self) -> dict[str, Any]:
        return {
            "median": round(self.median, 4),
            "least": round(min(self.values), 4),
            "greatest": round(max(self.values), 4),
            "values": [round(value, 4) for value in self.values],
        }

    def text(self, unit: str, digits: int = 1) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.median:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


@dataclass(frozen=True)
class Rest:
    """A program while nothing happens."""

    memory_mb: Spread
    #: Shares of one core.
    cpu: Spread

    def as_json(self) -> dict[str, Any]:
        return {"memoryMB": self.memory_mb.as_json(), "cpuPercentOfACore": self.cpu.as_json()}


def at_rest(processes: Mapping[str, Process], *, windows: int, seconds: float) -> dict[str, Rest]:
    """Memory and CPU of several programs at once, over windows one after the other."""
    pods = {name: process.pod() for name, process in processes.items()}
    found = {name: Rest(Spread(), Spread()) for name in processes}
    before = {name: process.read(pods[name]) for name, process in processes.items()}
    for _ in range(windows):
        # There is nothing to wait for: that nothing happens is what is measured.
        time.sleep(seconds)
        for name, process in processes.items():
            after = process.read(pods[name])
            spent = after.cpu_seconds - before[name].cpu_seconds
            found[name].cpu.values.append(100 * spent / (after.at - before[name].at))
            found[name].memory_mb.values.append(after.memory_mb)
            before[name] = after
    return found


class Recording:
    """Memory of a program while something is under way, a few times a second."""

    def __init__(self, process: Process, every_seconds: float = 5.0) -> None:
        self._process = process
        self._pod = process.pod()
        self._every = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.begin = process.read(self._pod)
        self.end = self.begin
        self.memory_mb = Spread([self.begin.memory_mb])

    def __enter__(self) -> Recording:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            self.end = self._process.read(self._pod)
            self.memory_mb.values.append(self.end.memory_mb)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.memory_mb.values.append(self._process.read(self._pod).memory_mb)
            except (ApiError, OSError):
                # A busy API server: the next sample will do.
                continue

    @property
    def cpu_percent(self) -> float:
        """Of one core, on average."""
        spent = self.end.cpu_seconds - self.begin.cpu_seconds
        return 100 * spent / (self.end.at - self.begin.at)

    def quantile(self, name: str, share: float, **only: str) -> float | None:
        return quantile(self.begin, self.end, name, share, **only)

    def grown(self, name: str, **labels: str) -> float:
        return self.end.sum(name, **labels) - self.begin.sum(name, **labels)
