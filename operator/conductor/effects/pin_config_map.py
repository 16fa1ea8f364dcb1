"""Copy a ConfigMap to a revision's own immutable one, so that an edit cannot change what runs."""

from conductor.adapters.kube import AlreadyExistsError, Kube, NotFoundError, Object
from conductor.domain.effects import PinConfigMap


def pin_config_map(kube: Kube, namespace: str, effect: PinConfigMap) -> None:
    source = kube.get("ConfigMap", namespace, effect.source)
    if source is None:
        raise NotFoundError(
            404, "NotFound", f"ConfigMap {effect.source} does not exist in namespace {namespace}"
        )
    copied: Object = {key: source[key] for key in ("data", "binaryData") if key in source}
    manifest: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": effect.target, "namespace": namespace, "labels": effect.labels},
        "immutable": True,
        **copied,
    }
    try:
        kube.create("ConfigMap", namespace, manifest)
    except AlreadyExistsError:
        return
