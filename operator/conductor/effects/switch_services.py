"""Point several Services at their new pods as one effect: all are tried dry, then all are patched.

A failure half-way puts back those that were patched, so that components never stay on a mixed pair.
"""

from collections.abc import Sequence
from typing import Any

from conductor.adapters.kube import ApiError, Kube
from conductor.api.names import ANNOTATION_EPOCH
from conductor.domain.effects import ServicePatch, SwitchServices


class HalfSwitchedError(ApiError):
    """Some Services could not be put back after a failed switch; the next pass decides afresh."""


def switch_services(kube: Kube, namespace: str, effect: SwitchServices) -> None:
    for patch in effect.patches:
        kube.patch("Service", namespace, patch.service, operations(patch, effect.epoch), dry_run=True)
    done: list[tuple[ServicePatch, str]] = []
    for patch in effect.patches:
        try:
            answer = kube.patch("Service", namespace, patch.service, operations(patch, effect.epoch))
        except ApiError:
            _put_back(kube, namespace, done)
            raise
        done.append((patch, answer["metadata"]["resourceVersion"]))


def operations(patch: ServicePatch, epoch: int) -> list[dict[str, Any]]:
    """The JSON patch of one Service; it fails unless the Service is as it was read."""
    annotation = ANNOTATION_EPOCH.replace("/", "~1")
    result: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": patch.resource_version},
        {"op": "replace", "path": "/spec/selector", "value": patch.selector},
        {"op": "add", "path": f"/metadata/annotations/{annotation}", "value": str(epoch)},
    ]
    if patch.ports:
        result.append({"op": "replace", "path": "/spec/ports", "value": list(patch.ports)})
    return result


def _former(patch: ServicePatch, resource_version: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
        {"op": "replace", "path": "/spec/selector", "value": patch.former_selector},
    ]
    if patch.ports:
        result.append({"op": "replace", "path": "/spec/ports", "value": list(patch.former_ports)})
    return result


def _put_back(kube: Kube, namespace: str, done: Sequence[tuple[ServicePatch, str]]) -> None:
    stuck = []
    for patch, resource_version in reversed(done):
        try:
            kube.patch("Service", namespace, patch.service, _former(patch, resource_version))
        except ApiError as error:
            stuck.append(f"{patch.service}: {error}")
    if stuck:
        raise HalfSwitchedError(0, "HalfSwitched", f"could not put back {'; '.join(stuck)}")
