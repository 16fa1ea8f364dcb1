"""Write the status of a release, valid only against the version that the decision was made on."""

from conductor.adapters.kube import Kube, Object
from conductor.api import names
from conductor.api.status import ReleaseStatus


def write_status(kube: Kube, release: Object, status: ReleaseStatus) -> Object:
    """The release as it is after the write. Raises ConflictError where somebody wrote in between."""
    metadata = release["metadata"]
    manifest = {
        **release,
        "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    return kube.replace(names.KIND, metadata["namespace"], manifest, subresource="status")
