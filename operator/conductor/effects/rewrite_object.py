"""Make an object that we own say something else, as long as it is as it was read; nothing else of its spec is left."""

from collections.abc import Mapping
from typing import Any

from conductor.adapters.kube import Kube
from conductor.domain.effects import RewriteObject


def rewrite_object(kube: Kube, namespace: str, effect: RewriteObject) -> None:
    """By a merge patch: a JSON patch tells an old version from a wrong one only to who may get such objects."""
    metadata = effect.manifest["metadata"]
    change = {
        "metadata": {"resourceVersion": effect.resource_version, "annotations": metadata["annotations"]},
        "spec": _instead(effect.former, effect.manifest["spec"]),
    }
    kube.merge(effect.manifest["kind"], namespace, metadata["name"], change)


def _instead(former: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What turns one into the other; None takes away, also what the API server had filled in."""
    change: dict[str, Any] = {key: None for key in former if key not in wanted}
    for key, value in wanted.items():
        known = former.get(key)
        both = isinstance(value, Mapping) and isinstance(known, Mapping)
        change[key] = _instead(dict(known or {}), value) if both else value
    return change
