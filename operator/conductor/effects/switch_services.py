"""Point several Services and routes at their new pods as one effect: all are tried dry, then all are patched.

A failure half-way puts back what was patched, so that components never stay on a mixed pair.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conductor.adapters.kube import ApiError, Kube
from conductor.api.names import ANNOTATION_BACKENDS, ANNOTATION_EPOCH, ANNOTATION_PREVIEW
from conductor.domain.effects import RoutePatch, ServicePatch, SwitchServices

Operations = list[dict[str, Any]]
_RULES = "/spec/rules"


class HalfSwitchedError(ApiError):
    """Not everything could be put back after a failed switch; the next pass decides afresh."""


@dataclass(frozen=True)
class _Write:
    """One object's patch, and what takes it back once it stands at another version."""

    kind: str
    name: str
    forward: Operations
    back: Operations


def switch_services(kube: Kube, namespace: str, effect: SwitchServices) -> None:
    writes = list(_writes(effect))
    for write in writes:
        kube.patch(write.kind, namespace, write.name, write.forward, dry_run=True)
    done: list[tuple[_Write, str]] = []
    for write in writes:
        try:
            answer = kube.patch(write.kind, namespace, write.name, write.forward)
        except ApiError:
            _put_back(kube, namespace, done)
            raise
        done.append((write, answer["metadata"]["resourceVersion"]))


def _writes(effect: SwitchServices) -> Iterator[_Write]:
    """Routes last: where a route leads by a colour's own Service, that one is right by then."""
    for patch in effect.patches:
        yield _Write("Service", patch.service, operations(patch, effect.epoch), _former(patch))
    for route in effect.routes:
        yield _Write("HTTPRoute", route.route, route_operations(route, effect.epoch), _former_route(route))


def operations(patch: ServicePatch, epoch: int) -> Operations:
    """The JSON patch of one Service; it fails unless the Service is as it was read."""
    result: Operations = [
        _at(patch.resource_version),
        {"op": "replace", "path": "/spec/selector", "value": patch.selector},
        {"op": "add", "path": _annotation(ANNOTATION_EPOCH), "value": str(epoch)},
    ]
    if patch.ports:
        result.append({"op": "replace", "path": "/spec/ports", "value": list(patch.ports)})
    return result


def route_operations(patch: RoutePatch, epoch: int) -> Operations:
    """The JSON patch of one route: backends of rules, what its owner wrote there, rules for previews; nothing else."""
    annotated: Operations = (
        [] if patch.annotated else [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    )
    result: Operations = [
        _at(patch.resource_version),
        *annotated,
        {"op": "add", "path": _annotation(ANNOTATION_EPOCH), "value": str(epoch)},
        *_backends(patch.backends),
    ]
    # From the last one on, so that those before it stay where they are.
    result += [{"op": "remove", "path": f"{_RULES}/{index}"} for index in sorted(patch.removed, reverse=True)]
    result += [{"op": "add", "path": f"{_RULES}/-", "value": dict(rule)} for rule in patch.appended]
    return result + _written(ANNOTATION_BACKENDS, patch.kept) + _written(ANNOTATION_PREVIEW, patch.preview)


def _written(annotation: str, text: str | None) -> Operations:
    """What we keep on a route: another text, None where it goes, an empty one where it stays as it is."""
    if text is None:
        return [{"op": "remove", "path": _annotation(annotation)}]
    return [{"op": "add", "path": _annotation(annotation), "value": text}] if text else []


def _former(patch: ServicePatch) -> Operations:
    result: Operations = [{"op": "replace", "path": "/spec/selector", "value": patch.former_selector}]
    if patch.ports:
        result.append({"op": "replace", "path": "/spec/ports", "value": list(patch.former_ports)})
    return result


def _former_route(patch: RoutePatch) -> Operations:
    if patch.former_rules:
        rules = [dict(rule) for rule in patch.former_rules]
        result: Operations = [{"op": "replace", "path": _RULES, "value": rules}]
    else:
        result = _backends(patch.former_backends)
    if patch.kept != "":
        result += _written(ANNOTATION_BACKENDS, patch.former_kept or None)
    if patch.preview != "":
        result += _written(ANNOTATION_PREVIEW, patch.former_preview or None)
    return result


def _backends(by_rule: Mapping[int, Sequence[Mapping[str, Any]]]) -> Operations:
    return [
        {
            "op": "replace",
            "path": f"{_RULES}/{index}/backendRefs",
            "value": [dict(item) for item in backends],
        }
        for index, backends in sorted(by_rule.items())
    ]


def _at(resource_version: str) -> dict[str, Any]:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}


def _annotation(name: str) -> str:
    return f"/metadata/annotations/{name.replace('/', '~1')}"


def _put_back(kube: Kube, namespace: str, done: Sequence[tuple[_Write, str]]) -> None:
    stuck = []
    for write, resource_version in reversed(done):
        try:
            kube.patch(write.kind, namespace, write.name, [_at(resource_version), *write.back])
        except ApiError as error:
            stuck.append(f"{write.name}: {error}")
    if stuck:
        raise HalfSwitchedError(0, "HalfSwitched", f"could not put back {'; '.join(stuck)}")
