"""Put or take the serving label of pods: it decides who is selected during a ramp."""

from typing import Any

from conductor.adapters.kube import Kube, NotFoundError
from conductor.api.names import LABEL_SERVING
from conductor.domain.effects import SetServing


def set_serving(kube: Kube, namespace: str, effect: SetServing) -> None:
    for name, serving in effect.pods:
        metadata: dict[str, Any] = {"labels": {LABEL_SERVING: "true" if serving else None}}
        if name in effect.versions:
            metadata["resourceVersion"] = effect.versions[name]
        try:
            kube.merge("Pod", namespace, name, {"metadata": metadata})
        except NotFoundError:
            continue
