"""Revisions: the immutable record of what was asked for, and how its Deployments are rendered from it."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from conductor.api import names
from conductor.api.pre_stop import PreStopHook
from conductor.api.spec import Colour, Component, ReleaseSpec
from conductor.domain.pre_stop import put_in

#: What the pod still needs after preStop has used all of its time: SIGTERM handling of an ordinary server.
GRACE_AFTER_DRAIN_SECONDS = 15
DEFAULT_GRACE_SECONDS = 30
#: Fields of a component that hold for its pods without being in them.
_NOT_WHAT_RUNS = frozenset({"replicas", "autoscaling", "disruptionBudget"})


class AdoptedWorkload(BaseModel):
    """A Deployment that a user made: its name, what its pods are told by, and which of its ReplicaSets is meant."""

    model_config = ConfigDict(frozen=True)

    name: str
    uid: str
    selector: dict[str, str]
    template_hash: str

    @property
    def pods(self) -> dict[str, str]:
        """Labels that exactly its pods carry."""
        return {**self.selector, names.LABEL_POD_TEMPLATE_HASH: self.template_hash}


class Adopted(BaseModel):
    """What was taken over, by component; and each Service's selector as its owner wrote it."""

    model_config = ConfigDict(frozen=True)

    workloads: dict[str, AdoptedWorkload]
    selectors: dict[str, dict[str, str]]


class Revision(BaseModel):
    """One accepted spec under its digest, with the names of the ConfigMaps that were pinned for it.

    `adopted`: it is no spec that anybody asked for, but a description of what ran before there was a release.
    """

    model_config = ConfigDict(frozen=True)

    hash: str
    spec: ReleaseSpec
    pinned: tuple[str, ...] = ()
    adopted: Adopted | None = None

    @property
    def version(self) -> str:
        return self.spec.version


def digest(raw_spec: Mapping[str, Any]) -> str:
    """Digest of the part of a spec that runs: version, components and preStop hook, as the user wrote them.

    Taken over the input and not over what we render, so that an upgrade of the operator re-renders
    nothing. How many pods there are to be is left out: that changes what runs without another colour.
    """
    components = [
        {key: value for key, value in component.items() if key not in _NOT_WHAT_RUNS}
        for component in raw_spec.get("components", [])
    ]
    running = {
        "version": raw_spec.get("version"),
        "components": components,
        "preStopHook": raw_spec.get("preStopHook", {}),
    }
    canonical = json.dumps(running, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[: names.HASH_LENGTH]


def referenced_config_maps(spec: ReleaseSpec) -> tuple[str, ...]:
    """ConfigMaps that the templates use and that are to be pinned; the traffic ConfigMap stays live."""
    found: set[str] = set()
    for component in spec.components:
        _visit_config_maps(component.template.get("spec") or {}, found, None)
    found.discard(spec.traffic.config_map or "")
    return tuple(sorted(found))


def _visit_config_maps(pod: dict[str, Any], found: set[str], renames: Mapping[str, str] | None) -> None:
    """Collect names of referenced ConfigMaps and, where `renames` has one, put the new name in place."""

    def meet(holder: dict[str, Any]) -> None:
        name = holder.get("name", "")
        if name and not holder.get("optional"):
            found.add(name)
        if renames and name in renames:
            holder["name"] = renames[name]

    for reference in _config_map_references(pod):
        meet(reference)


def _config_map_references(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place of a pod spec that names a ConfigMap, as the object that holds `name`."""
    # Charts render nulls where the API server takes none for nothing.
    for volume in pod.get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        yield from (source["configMap"] for source in sources if source.get("configMap"))
    for container in [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]:
        yield from (
            source["configMapRef"] for source in container.get("envFrom") or [] if source.get("configMapRef")
        )
        for variable in container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("configMapKeyRef")
            if reference:
                yield reference


def grace_problem(component: Component, hook: PreStopHook) -> str | None:
    """Why the pod would be killed before its drain ends, or None."""
    asked = (component.template.get("spec") or {}).get("terminationGracePeriodSeconds")
    if not hook.enabled or asked is None or asked > hook.drain_seconds:
        return None
    return (
        f"spec.components[{component.name}].template.spec.terminationGracePeriodSeconds: {asked} is not longer than "
        f"preStopHook.drainSeconds {hook.drain_seconds}; raise it to at least "
        f"{hook.drain_seconds + GRACE_AFTER_DRAIN_SECONDS} or lower drainSeconds"
    )


def grace_seconds(component: Component, hook: PreStopHook) -> int:
    """How long pods of that component may take to end."""
    asked: int | None = (component.template.get("spec") or {}).get("terminationGracePeriodSeconds")
    if asked is not None:
        return asked
    return max(DEFAULT_GRACE_SECONDS, hook.drain_seconds + GRACE_AFTER_DRAIN_SECONDS if hook.enabled else 0)


def pod_labels(release: str, component: str, colour: Colour, revision: str) -> dict[str, str]:
    """Labels that tell whose a pod is; also the Deployment's selector."""
    return {
        names.LABEL_RELEASE: release,
        names.LABEL_COMPONENT: component,
        names.LABEL_COLOUR: str(colour),
        names.LABEL_REVISION: revision,
    }


def render_deployment(
    release: str, namespace: str, revision: Revision, component: Component, *, colour: Colour, replicas: int
) -> dict[str, Any]:
    """The Deployment of one component in one revision, ready to be server-side applied.

    It carries no owner reference: nothing that befalls the release may take serving pods down.
    """
    labels = pod_labels(release, component.name, colour, revision.hash)
    template: dict[str, Any] = copy.deepcopy(component.template)
    metadata = template["metadata"] = template.get("metadata") or {}
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels, names.LABEL_SERVING: "true"}
    pod = template["spec"] = template.get("spec") or {}
    _visit_config_maps(pod, set(), {name: names.pinned_name(name, revision.hash) for name in revision.pinned})
    hook = revision.spec.pre_stop_hook
    if hook.enabled:
        pod["terminationGracePeriodSeconds"] = grace_seconds(component, hook)
        if component.services:
            put_in(pod, hook)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.deployment_name(release, component.name, str(colour), revision.hash),
            "namespace": namespace,
            "labels": labels,
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "revisionHistoryLimit": 0,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template,
        },
    }


def narrow_selector(release: str, component: str, revision: str) -> dict[str, str]:
    """Selector of a Service in steady state: one revision, whatever its pods' serving label says."""
    return {
        names.LABEL_RELEASE: release,
        names.LABEL_COMPONENT: component,
        names.LABEL_REVISION: revision,
    }


def steady_selector(release: str, component: Component, revision: Revision, service: str) -> dict[str, str]:
    """Selector that leads one Service to exactly that revision."""
    if revision.adopted is None:
        return narrow_selector(release, component.name, revision.hash)
    workload = revision.adopted.workloads[component.name]
    own = {names.LABEL_POD_TEMPLATE_HASH: workload.template_hash}
    return {**revision.adopted.selectors[service], **own}


def template_labels(component: Component) -> Mapping[str, str]:
    """Labels that a user gave a component's pods."""
    return (component.template.get("metadata") or {}).get("labels") or {}


def wide_selector(release: str, component: str) -> dict[str, str]:
    """Selector of a Service in a ramp: every pod of either revision that is told to serve."""
    return {
        names.LABEL_RELEASE: release,
        names.LABEL_COMPONENT: component,
        names.LABEL_SERVING: "true",
    }
