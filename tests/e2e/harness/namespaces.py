"""A namespace per test: made with a label, deleted at the end, and explained when the test failed."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.kube import Kube, Object
from harness.waiting import summary, wait_gone

LABEL_TEST = "maestro-conductor.io/test"
DELETE_SECONDS = 120.0
#: What makes pods, from the outermost in; each must be gone before its pods are, or it makes them anew.
POD_MAKERS = ("Deployment", "StatefulSet", "ReplicaSet", "Job")
_EVENTS_SHOWN = 40


def make_namespace(kube: Kube, name: str, *, pod_security: str = "restricted") -> None:
    """Create a namespace that admits restricted pods only, as a careful production does."""
    labels = {LABEL_TEST: "true", "pod-security.kubernetes.io/enforce": pod_security}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def delete_namespace(kube: Kube, name: str, *, deadline_seconds: float = DELETE_SECONDS) -> None:
    """Delete a namespace and wait until nothing of it is left."""
    if kube.get("Namespace", name) is not None:
        _end_pods_at_once(kube, name)
    if kube.delete("Namespace", name):
        wait_gone(kube, "Namespace", name, deadline_seconds=deadline_seconds)


def _end_pods_at_once(kube: Kube, name: str) -> None:
    """Nobody is served by these pods any more; their drains would only make every test longer by half a minute."""
    for release in _list_known(kube, "ControlPlaneRelease", name):
        kube.delete("ControlPlaneRelease", release["metadata"]["name"], name)
    for kind in POD_MAKERS:
        kube.request("DELETE", kube.path(kind, name), body={"propagationPolicy": "Background"})
    kube.request("DELETE", kube.path("Pod", name), body={"gracePeriodSeconds": 0})


@contextmanager
def namespace(kube: Kube, prefix: str, *, failed: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """A new namespace for the block; `failed` says at the end whether to print what went on in it."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    make_namespace(kube, name)
    try:
        yield name
    except BaseException:
        print(diagnosis(kube, name), file=sys.stderr)
        raise
    else:
        if failed():
            print(diagnosis(kube, name), file=sys.stderr)
    finally:
        delete_namespace(kube, name)


def diagnosis(kube: Kube, name: str) -> str:
    """Releases, workloads, pods that are not ready and the last Events of a namespace, as text."""
    parts = [f"--- what went on in namespace {name}"]
    for kind in ("ControlPlaneRelease", "Deployment", "Job"):
        parts += [summary(item) for item in _list_known(kube, kind, name)]
    parts += [_pod_line(pod) for pod in kube.objects("Pod", name)]
    events = sorted(kube.objects("Event", name), key=event_time)
    parts += [event_line(event) for event in events[-_EVENTS_SHOWN:]]
    return "\n".join(parts)


def event_time(event: Object) -> str:
    """When an Event happened last, whichever of its fields tells it."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def event_line(event: Object) -> str:
    about = event.get("involvedObject", {})
    count = event.get("count") or 1
    return (
        f"{event_time(event)} {event.get('type')} {event.get('reason')} {about.get('kind')}/{about.get('name')}"
        f" x{count}: {event.get('message', '')}"
    )


def _list_known(kube: Kube, kind: str, name: str) -> list[Object]:
    """Objects of a kind that may not be installed in this cluster at all."""
    if kind == "ControlPlaneRelease":
        crd = "controlplanereleases.maestro-conductor.io"
        if kube.get("CustomResourceDefinition", crd) is None:
            return []
    return kube.objects(kind, name)


def _pod_line(pod: Object) -> str:
    status = pod.get("status", {})
    states = [
        f"{container['name']} ready={container['ready']} restarts={container['restartCount']} {container['state']}"
        for container in status.get("containerStatuses") or []
    ]
    being_deleted = " (being deleted)" if "deletionTimestamp" in pod["metadata"] else ""
    return f"Pod {pod['metadata']['name']} {status.get('phase')}{being_deleted}: {'; '.join(states)}"
