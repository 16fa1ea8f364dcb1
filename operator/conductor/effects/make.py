"""From an effect as data to the file that makes it."""

from conductor.adapters.kube import Kube
from conductor.domain import effects
from conductor.effects.apply_object import apply_object
from conductor.effects.claim_objects import claim_objects
from conductor.effects.create_object import create_object
from conductor.effects.delete_objects import delete_objects
from conductor.effects.delete_pods import delete_pods
from conductor.effects.pin_config_map import pin_config_map
from conductor.effects.publish_colour import publish_colour
from conductor.effects.release_finalizer import release_finalizer
from conductor.effects.scale_deployment import scale_deployment
from conductor.effects.set_serving import set_serving
from conductor.effects.switch_services import switch_services


def make(kube: Kube, namespace: str, release: str, effect: effects.Effect) -> None:
    """Make one effect. Raises ApiError; every effect may be made again after one."""
    match effect:
        case effects.ApplyObject():
            apply_object(kube, effect)
        case effects.CreateObject():
            create_object(kube, namespace, effect)
        case effects.PinConfigMap():
            pin_config_map(kube, namespace, effect)
        case effects.ScaleDeployment():
            scale_deployment(kube, namespace, effect)
        case effects.DeleteObjects():
            delete_objects(kube, namespace, effect)
        case effects.DeletePods():
            delete_pods(kube, namespace, effect)
        case effects.SetServing():
            set_serving(kube, namespace, effect)
        case effects.SwitchServices():
            switch_services(kube, namespace, effect)
        case effects.ClaimObjects():
            claim_objects(kube, namespace, effect)
        case effects.PublishColour():
            publish_colour(kube, namespace, effect)
        case effects.ReleaseFinalizer():
            release_finalizer(kube, namespace, release, effect)
        case _:
            raise TypeError(f"no effect of type {type(effect).__name__}")
