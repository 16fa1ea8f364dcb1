"""Keep `data.current` of the traffic ConfigMap true; other keys are the user's."""

from typing import Any

from conductor.adapters.kube import Kube
from conductor.domain.effects import PublishColour


def publish_colour(kube: Kube, namespace: str, effect: PublishColour) -> None:
    data = {"current": effect.colour}
    if effect.exists:
        change: dict[str, Any] = {"data": data}
        if effect.resource_version is not None:
            change["metadata"] = {"resourceVersion": effect.resource_version}
        kube.merge("ConfigMap", namespace, effect.config_map, change)
        return
    kube.create(
        "ConfigMap",
        namespace,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": effect.config_map,
                "namespace": namespace,
                "labels": dict(effect.labels),
            },
            "data": data,
        },
    )
