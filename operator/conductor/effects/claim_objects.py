"""Write our epoch on objects: a former leader's write in flight then fails by its resource version."""

from conductor.adapters.kube import Kube, NotFoundError
from conductor.api.names import ANNOTATION_EPOCH
from conductor.domain.effects import ClaimObjects


def claim_objects(kube: Kube, namespace: str, effect: ClaimObjects) -> None:
    """What is gone since needs no claim; what moved since is claimed by the next pass, as it is then."""
    for claim in effect.claims:
        change = {
            "metadata": {
                "resourceVersion": claim.resource_version,
                "annotations": {ANNOTATION_EPOCH: str(effect.epoch)},
            }
        }
        try:
            kube.merge(claim.kind, namespace, claim.name, change)
        except NotFoundError:
            continue
