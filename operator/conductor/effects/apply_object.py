"""Server-side apply an object that we own; applying it again changes nothing."""

from conductor.adapters.kube import Kube
from conductor.domain.effects import ApplyObject


def apply_object(kube: Kube, effect: ApplyObject) -> None:
    kube.apply(effect.manifest)
