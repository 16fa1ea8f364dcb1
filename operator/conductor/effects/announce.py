"""Events for `kubectl describe`: named by what they say, so that a crash cannot say it twice."""

import hashlib
from datetime import UTC, datetime

from conductor.adapters.kube import AlreadyExistsError, Kube, Object
from conductor.api import names
from conductor.domain.plan import Announcement

_NOTE_LIMIT = 1024


def announce(kube: Kube, release: Object, sequence: str, announcement: Announcement) -> None:
    """Create the Event; `sequence` sets one occasion apart from the next."""
    metadata = release["metadata"]
    said = f"{metadata['uid']}/{sequence}/{announcement.reason}/{announcement.message}"
    event = {
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
    try:
        kube.create("Event", metadata["namespace"], event)
    except AlreadyExistsError:
        return
