"""Reflectors: list one kind of object, then watch it, and keep the cache as the API server shows it.

As in client-go: a list replaces everything that was known, so that what was deleted while nobody watched is
noticed at once. The API server selects by label, so that the pods of others cost nothing here.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from conductor.adapters.kube import ApiError, GoneError, Kube, Object
from conductor.api import names
from conductor.observe.cache import Cache, Key
from conductor.observe.held import KINDS
from conductor.runtime import metrics

_log = structlog.get_logger(__name__)


#: A server that is back is asked again within this time, however long it was away.
_LONGEST_REST_SECONDS = 2.0


@dataclass(frozen=True)
class ReflectorTerms:
    """Seconds. `watch`: how long one watch lasts; `relist`: how often everything is listed again all the same."""

    watch: float = 300.0
    relist: float = 3600.0
    first_pause: float = 0.2
    longest_pause: float = 15.0


class Reflector:
    """One kind, in one namespace or in all, in a thread of its own."""

    def __init__(
        self,
        kube: Kube,
        kind: str,
        namespace: str | None,
        cache: Cache,
        *,
        clock: Callable[[], float] = time.monotonic,
        terms: ReflectorTerms = ReflectorTerms(),
    ) -> None:
        self.name = reflector_name(kind, namespace)
        self._kube = kube
        self._kind = kind
        self._namespace = namespace
        self._cache = cache
        self._clock = clock
        self._terms = terms
        self._rest: float | None = None
        self._closing = threading.Event()
        # It may be reading when the process ends: a read of minutes is not waited for.
        self._thread = threading.Thread(target=self._run, name=f"watch-{self.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        pause = self._terms.first_pause
        while not self._closing.is_set():
            begun = self._clock()
            try:
                self._follow(self._list())
            except GoneError:
                metrics.RELISTS.labels(self._kind, "gone").inc()
            except ApiError as error:
                metrics.RELISTS.labels(self._kind, "error").inc()
                _log.warning("watch broken, listing again", kind=self._kind, error=str(error))
            except Exception:  # noqa: BLE001
                # A defect met by one answer must not end the watch for good.
                metrics.RELISTS.labels(self._kind, "defect").inc()
                _log.exception("watch ended in a defect, listing again", kind=self._kind)
            lasted = self._clock() - begun
            pause = self._terms.first_pause if lasted > self._terms.longest_pause else pause * 2
            pause = min(pause, self._terms.longest_pause)
            self._closing.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing

    def _list(self) -> str:
        present: set[Key] = set()
        version = ""
        for page in self._kube.pages(self._kind, self._namespace, names.LABEL_RELEASE):
            version = page.version
            for obj in page.items:
                present.add((obj["metadata"]["namespace"], obj["metadata"]["name"]))
                self._show(obj)
        self._cache.retain(self._kind, self._namespace, present)
        self._cache.listed(self.name)
        return version

    def _show(self, obj: Object) -> None:
        """What cannot be read is as if it were not there: its release is then read afresh, and says so itself."""
        try:
            self._cache.put(self._kind, obj)
        except (AttributeError, KeyError, TypeError, ValueError):
            namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
            _log.exception("object not understood", kind=self._kind, namespace=namespace, name=name)
            self._cache.drop(self._kind, namespace, name)

    def _follow(self, version: str) -> None:
        """Watch until everything is to be listed again; a watch that ended by itself goes on where it was."""
        again_at = self._clock() + self._terms.relist * random.uniform(0.8, 1.2)  # noqa: S311 - the same
        while not self._closing.is_set() and self._clock() < again_at:
            version = self._watch(version)

    def _watch(self, version: str) -> str:
        begun = self._clock()
        seconds = int(self._terms.watch * random.uniform(0.8, 1.2))  # noqa: S311 - the same
        try:
            for event in self._kube.watch(self._kind, self._namespace, version, names.LABEL_RELEASE, seconds):
                metadata = event.object["metadata"]
                if event.type == "DELETED":
                    self._cache.drop(self._kind, metadata["namespace"], metadata["name"])
                elif event.type != "BOOKMARK":
                    metrics.WATCH_EVENTS.labels(self._kind).inc()
                    self._show(event.object)
                version = metadata["resourceVersion"]
        except ApiError as error:
            if error.status:
                raise
            # The stream broke: what came so far was whole, and the next watch goes on from there.
            self._rest_after_break(self._clock() - begun, error)
        return version

    def _rest_after_break(self, lasted: float, error: ApiError) -> None:
        """A server that stays away is asked ever less often, and told of once."""
        longest = min(_LONGEST_REST_SECONDS, self._terms.longest_pause)
        if self._rest is None or lasted > longest:
            _log.info("watch interrupted", kind=self._kind, error=error.message)
            self._rest = self._terms.first_pause
        else:
            self._rest = min(2 * self._rest, longest)
        self._closing.wait(self._rest)


def reflectors(kube: Kube, namespaces: Iterable[str], cache: Cache) -> list[Reflector]:
    """One for each kind and namespace; no namespaces: all of them at once."""
    return [
        Reflector(kube, kind, namespace, cache)
        for kind in KINDS
        for namespace in (tuple(namespaces) or (None,))
    ]


def expected(namespaces: Iterable[str]) -> list[str]:
    """Names of those reflectors, for the cache that waits for all of them."""
    return [reflector_name(kind, namespace) for kind in KINDS for namespace in (tuple(namespaces) or (None,))]


def reflector_name(kind: str, namespace: str | None) -> str:
    return f"{kind}/{namespace}" if namespace else kind
