"""Say on a release that its status cannot be read, and leave everything else of it as it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from conductor.adapters.kube import Kube, Object
from conductor.api import names


def hold_release(kube: Kube, release: Object, conditions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether anything was written. Raises ConflictError where somebody wrote in between."""
    status = release.get("status") or {}
    if status.get("conditions") == list(conditions):
        return False
    manifest = {**release, "status": {**status, "conditions": list(conditions)}}
    kube.replace(names.KIND, release["metadata"]["namespace"], manifest, subresource="status")
    return True
