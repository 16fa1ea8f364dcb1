"""Events for `kubectl describe`: named by what they say, so that a crash cannot say it twice."""

import hashlib
from datetime import UTC, datetime

from conductor.adapters.kube import AlreadyExistsError, Kube, Object
from conductor.api import names
from conductor.domain.plan import Announcement

_NOTE_LIMIT = 1024


def event_of(release: Object, sequence: str, announcement: Announcement) -> Object:
    """The Event as of this moment; `sequence` sets one occasion apart from the next."""
    metadata = release["metadata"]
    said = f"{metadata['uid']}/{sequence}/{announcement.reason}/{announcement.message}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if announcement.warning else "Normal",
        "reason": announcement.reason,
        "action": "Upgrade",
        "note": announcement.message[:_NOTE_LIMIT],
        "reportingController": names.GROUP,
        "reportingInstance": names.FIELD_MANAGER,
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
    }


def announce(kube: Kube, event: Object) -> None:
    """Create the Event; one that is there already was created by a pass that crashed after it. Raises ApiError."""
    try:
        kube.create("Event", event["metadata"]["namespace"], event)
    except AlreadyExistsError:
        return
