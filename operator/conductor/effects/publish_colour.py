"""Keep `data.current` of the traffic ConfigMap true; other keys are the user's."""

from conductor.adapters.kube import Kube
from conductor.domain.effects import PublishColour


def publish_colour(kube: Kube, namespace: str, effect: PublishColour) -> None:
    data = {"current": effect.colour}
    if effect.exists:
        kube.merge("ConfigMap", namespace, effect.config_map, {"data": data})
        return
    kube.create(
        "ConfigMap",
        namespace,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": effect.config_map, "namespace": namespace},
            "data": data,
        },
    )
