"""Add or remove our finalizer on the release, guarded by its resourceVersion."""

from conductor.adapters.kube import Kube, NotFoundError
from conductor.api import names
from conductor.domain.effects import ReleaseFinalizer


def release_finalizer(kube: Kube, namespace: str, release: str, effect: ReleaseFinalizer) -> None:
    found = kube.get(names.KIND, namespace, release)
    if found is None:
        return
    present = [name for name in found["metadata"].get("finalizers", []) if name != names.FINALIZER]
    wanted = [*present, names.FINALIZER] if effect.present else present
    change = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"], "finalizers": wanted}}
    try:
        kube.merge(names.KIND, namespace, release, change)
    except NotFoundError:
        return
