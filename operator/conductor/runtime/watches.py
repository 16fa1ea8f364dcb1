"""kopf's watch of the releases: each event goes into the cache, which wakes the release it is news for.

Only event handlers: kopf's change handlers would copy the spec into an annotation, and decisions
never live in a handler. Objects of releases are watched by `runtime.reflectors`.
"""

from typing import Any

import kopf

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.observe.cache import Cache


class _NothingKept(kopf.DiffBaseStorage):
    """There are no change handlers to compare anything for, and a copy of each object for it is a fifth of the work."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002 - kopf's names
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - the same
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is written to a release."""


def settings() -> kopf.OperatorSettings:
    """kopf as a watcher only: no peering, no Events, no finalizers of its own."""
    chosen = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.persistence.diffbase_storage = _NothingKept()
    chosen.scanning.disabled = True
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    chosen.watching.connect_timeout = 10
    # A page of a list is in memory at once, and what was taken once is never given back.
    chosen.watching.chunk_size = 50
    return chosen


def registry(cache: Cache) -> kopf.OperatorRegistry:
    """One handler: it tells the cache."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers, id="login")
    def login(**context: Any) -> kopf.ConnectionInfo | None:
        found = kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)
        return found if isinstance(found, kopf.ConnectionInfo) else None

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=handlers, id="release")
    async def release_changed(event: kopf.RawEvent, **_: Any) -> None:
        tell(cache, event["type"], dict(event["object"]))

    return handlers


def tell(cache: Cache, type_: str | None, release: Object) -> None:
    """A release as kopf showed it; what is deleted is forgotten, and its last pass finds it gone."""
    metadata = release["metadata"]
    if type_ == "DELETED":
        cache.gone((metadata["namespace"], metadata["name"]))
    else:
        cache.put_release(release)
