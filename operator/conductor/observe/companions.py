"""Autoscalers and disruption budgets: ours, which no watch shows, and those of others, asked for before an upgrade."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from conductor.adapters.kube import ApiError, Kube, Object
from conductor.api import names
from conductor.api.sizing import Autoscaling, DisruptionBudget
from conductor.api.spec import Colour
from conductor.api.status import ReleaseStatus
from conductor.domain.companion import (
    AUTOSCALER,
    BUDGET,
    FIELDS,
    KINDS,
    Asked,
    Companion,
    ForeignBudget,
    asked_by,
    manifest,
)
from conductor.domain.revision import Revision, render_deployment
from conductor.domain.sizing import asks
from conductor.observe.parsed import ParsedSpec
from conductor.observe.read import epoch, labels


def wanted(parsed: ParsedSpec, status: ReleaseStatus, revisions: Mapping[str, Revision]) -> bool:
    """Whether there may be any: a spec in use asks for one, or one was made and not all are known to be gone."""
    upgrade = status.upgrade
    hashes = {status.active_revision, *((upgrade.from_revision, upgrade.to_revision) if upgrade else ())}
    known = [revisions[hash_] for hash_ in sorted(hashes) if hash_ in revisions]
    return status.sized or asks(parsed.spec, parsed.digest, known)


def read_companions(kube: Kube, namespace: str, release: str) -> tuple[Companion, ...] | None:
    """All of the release's; None where they may not be read: the image may be newer than the chart.

    Raises ApiError where the API server does not answer.
    """
    found: list[Companion] = []
    for kind in KINDS:
        listed = _unless_forbidden(kube, kind, namespace, f"{names.LABEL_RELEASE}={release}")
        if listed is None:
            return None
        found += [_companion(kind, item) for item in listed if names.LABEL_REVISION in labels(item)]
    return tuple(found)


def other_budgets(kube: Kube, namespace: str, release: str) -> tuple[ForeignBudget, ...]:
    """Budgets of the namespace that are none of the release's. Raises ApiError as above."""
    listed = _unless_forbidden(kube, BUDGET, namespace) or []
    return tuple(
        ForeignBudget(item["metadata"]["name"], (item.get("spec") or {}).get("selector"))
        for item in listed
        if labels(item).get(names.LABEL_RELEASE) != release
    )


def rejected(kube: Kube, namespace: str, release: str, candidate: Revision) -> list[str]:
    """What the API server says against what is asked for beside the candidate, by dry-run. Raises ApiError."""
    said = []
    for component in candidate.spec.components:
        for kind in KINDS:
            if (asked := asked_by(component, kind)) is None:
                continue
            deployment = render_deployment(
                release, namespace, candidate, component, colour=Colour.BLUE, replicas=0
            )
            deployment["metadata"]["name"] += "-dry"
            try:
                kube.apply(manifest(kind, deployment, asked, asked, epoch=0), dry_run=True)
            except ApiError as error:
                if error.status == 0:
                    raise
                field = f"spec.components[{component.name}].{FIELDS[kind]}"
                said.append(f"{field}: {error.message}; correct it")
    return said


def _unless_forbidden(kube: Kube, kind: str, namespace: str, selector: str = "") -> list[Object] | None:
    try:
        return kube.list(kind, namespace, selector)
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return None


def _companion(kind: str, obj: Mapping[str, Any]) -> Companion:
    metadata, label = obj["metadata"], labels(obj)
    annotations = metadata.get("annotations") or {}
    return Companion(
        kind=kind,
        name=metadata["name"],
        component=label.get(names.LABEL_COMPONENT, ""),
        revision=label[names.LABEL_REVISION],
        digest=annotations.get(names.ANNOTATION_DIGEST, ""),
        asked=_asked(kind, annotations.get(names.ANNOTATION_ASKED, "")),
        resource_version=metadata["resourceVersion"],
        epoch=epoch(obj),
        desired=(obj.get("status") or {}).get("desiredReplicas", 0),
        spec=obj.get("spec") or {},
    )


def _asked(kind: str, text: str) -> Asked | None:
    """What was asked for, as it is kept on the object; None where a hand made it something else."""
    model = Autoscaling if kind == AUTOSCALER else DisruptionBudget
    try:
        found: Asked = json.loads(text)
        model.model_validate(found)
    except (ValueError, RecursionError):
        return None
    return found
