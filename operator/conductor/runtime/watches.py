"""kopf's watches: every event about a release or an object of one asks for that release's turn.

Only event handlers: kopf's change handlers would copy the spec into an annotation, and decisions
never live in a handler.
"""

from collections.abc import Callable
from typing import Any

import kopf

from conductor.api import names
from conductor.runtime.turns import Key

#: Objects whose changes matter to a release while it moves; each carries the release's label.
_WATCHED: tuple[tuple[str, str, str], ...] = (
    ("apps", "v1", "deployments"),
    ("", "v1", "pods"),
    ("", "v1", "services"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("batch", "v1", "jobs"),
)


def settings() -> kopf.OperatorSettings:
    """kopf as a watcher only: no peering, no Events, no finalizers of its own."""
    chosen = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    chosen.watching.connect_timeout = 10
    return chosen


def registry(ask: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """Handlers that ask for turns."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers, id="login")
    def login(**context: Any) -> kopf.ConnectionInfo | None:
        found = kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)
        return found if isinstance(found, kopf.ConnectionInfo) else None

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=handlers, id="release")
    async def release_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        ask((namespace or "", name or ""))

    async def object_changed(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        ask((namespace or "", labels[names.LABEL_RELEASE]))

    for group, version, plural in _WATCHED:
        kopf.on.event(
            group,
            version,
            plural,
            labels={names.LABEL_RELEASE: kopf.PRESENT},
            registry=handlers,
            id=f"own-{plural}",
        )(object_changed)
    return handlers
