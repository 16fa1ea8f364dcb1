"""From an effect as data to the file that makes it."""

from collections.abc import Callable, Mapping
from typing import Any

from conductor.adapters.kube import Kube
from conductor.domain import effects
from conductor.effects.adopt_object import adopt_object
from conductor.effects.apply_object import apply_object
from conductor.effects.claim_objects import claim_objects
from conductor.effects.create_object import create_object
from conductor.effects.delete_objects import delete_objects
from conductor.effects.delete_pods import delete_pods
from conductor.effects.pin_config_map import pin_config_map
from conductor.effects.publish_colour import publish_colour
from conductor.effects.release_finalizer import release_finalizer
from conductor.effects.rewrite_object import rewrite_object
from conductor.effects.scale_deployment import scale_deployment
from conductor.effects.set_serving import set_serving
from conductor.effects.switch_services import switch_services

_MADE: Mapping[type[effects.Effect], Callable[[Kube, str, Any], None]] = {
    effects.CreateObject: create_object,
    effects.RewriteObject: rewrite_object,
    effects.PinConfigMap: pin_config_map,
    effects.ScaleDeployment: scale_deployment,
    effects.DeleteObjects: delete_objects,
    effects.DeletePods: delete_pods,
    effects.SetServing: set_serving,
    effects.SwitchServices: switch_services,
    effects.WeighRoutes: switch_services,
    effects.AdoptObject: adopt_object,
    effects.ClaimObjects: claim_objects,
    effects.PublishColour: publish_colour,
}


def make(kube: Kube, namespace: str, release: str, effect: effects.Effect) -> None:
    """Make one effect. Raises ApiError; every effect may be made again after one."""
    match effect:
        case effects.ApplyObject():
            apply_object(kube, effect)
        case effects.ReleaseFinalizer():
            release_finalizer(kube, namespace, release, effect)
        case _ if type(effect) in _MADE:
            _MADE[type(effect)](kube, namespace, effect)
        case _:
            raise TypeError(f"no effect of type {type(effect).__name__}")
