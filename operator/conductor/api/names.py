"""Every name that stands in the cluster because of us: group, labels, annotations, object names."""

import hashlib

GROUP = "maestro-conductor.io"
VERSION = "v1alpha1"
KIND = "ControlPlaneRelease"
PLURAL = "controlplanereleases"
API_VERSION = f"{GROUP}/{VERSION}"

LABEL_RELEASE = f"{GROUP}/release"
LABEL_COMPONENT = f"{GROUP}/component"
LABEL_COLOUR = f"{GROUP}/colour"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_SERVING = f"{GROUP}/serving"
LABEL_ROLE = f"{GROUP}/role"
LABEL_UPGRADE = f"{GROUP}/upgrade"
LABEL_RECEIPTS = f"{GROUP}/receipts"
LABEL_RELEASE_UID = f"{GROUP}/release-uid"

#: On a Node through which nobody connects to Services, so that nothing waits for its proxy.
LABEL_NODE_PROOF = f"{GROUP}/node-proof"
NODE_PROOF_IGNORE = "ignore"

ANNOTATION_APPROVE = f"{GROUP}/approve"
ANNOTATION_ABORT = f"{GROUP}/abort"
ANNOTATION_ROLLBACK = f"{GROUP}/rollback"
ANNOTATION_RETRY = f"{GROUP}/retry"
ANNOTATION_ROLLED_BACK_BY = f"{GROUP}/rolled-back-by"
ANNOTATION_EPOCH = f"{GROUP}/epoch"
#: On a route that leads to both colours: the backends that its owner wrote, as JSON, to be given back.
ANNOTATION_BACKENDS = f"{GROUP}/backends"
#: On a route with rules for previews: by what these are known, as JSON, to be taken out again.
ANNOTATION_PREVIEW = f"{GROUP}/preview"
ANNOTATION_DIGEST = f"{GROUP}/digest"
#: On an autoscaler or a disruption budget of ours: what was asked for, as JSON, whatever it is held at meanwhile.
ANNOTATION_ASKED = f"{GROUP}/asked"
ANNOTATION_SHARDS = f"{GROUP}/shards"
ANNOTATION_MEMBERS = f"{GROUP}/members"
#: On a Deployment that a user made and that a release took over; also how it is told from those that we made.
ANNOTATION_ADOPTED = f"{GROUP}/adopted"
#: On Services that we made: what was adopted is not ours to delete.
ANNOTATION_CREATED = f"{GROUP}/created"
#: Kubernetes' own, on every pod of a Deployment: which of its ReplicaSets made it.
LABEL_POD_TEMPLATE_HASH = "pod-template-hash"

FINALIZER = f"{GROUP}/delete"
FIELD_MANAGER = "maestro-conductor"

ROLE_PREVIEW = "preview"
ROLE_SERVING = "serving"
#: A Service that leads to one colour, for routes and for calls within it.
ROLE_COLOUR = "colour"
ROLE_MIGRATION = "migration"
ROLE_PRE_PULL = "pre-pull"
ROLE_PINNED = "pinned-config"
ROLE_TRAFFIC = "traffic"

HASH_LENGTH = 10
#: Longer Jobs are refused: their name is a label of their pods.
JOB_NAME_LENGTH = 63
#: Where the pod of a migrate Job says how far it is.
PROGRESS_PORT = 8099


def deployment_name(release: str, component: str, colour: str, revision: str) -> str:
    """Name of the Deployment of one component in one revision."""
    return f"{release}-{component}-{colour}-{revision}"


def revision_name(release: str, revision: str) -> str:
    """Name of the ControllerRevision that records a revision."""
    return f"{release}-{revision}"


def preview_name(service: str) -> str:
    """Name of the Service through which the candidate is proven before users meet it."""
    return f"{service}-preview"


def colour_service_name(service: str, colour: str) -> str:
    """Name of the Service that leads to one colour of what is behind a Service."""
    return f"{service}-{colour}"


def pinned_name(config_map: str, revision: str) -> str:
    """Name of a revision's own copy of a ConfigMap that its templates use."""
    return f"{config_map}-{revision}"


def job_name(release: str, upgrade: str, verb: str, attempt: int) -> str:
    """Name of one attempt at one migration verb."""
    return f"{job_prefix(release, upgrade)}{verb}-{attempt}"


def job_prefix(release: str, upgrade: str) -> str:
    """What the names of all migration Jobs of an upgrade begin with."""
    return f"{release}-{upgrade}-"


def pre_pull_name(release: str, upgrade: str, component: str) -> str:
    """Name of the Job that pulls the images of one component of an upgrade's candidate."""
    prefix = pre_pull_prefix(release, upgrade)
    if len(prefix) + len(component) <= JOB_NAME_LENGTH:
        return f"{prefix}{component}"
    return prefix + hashlib.sha256(component.encode()).hexdigest()[:HASH_LENGTH]


def pre_pull_prefix(release: str, upgrade: str) -> str:
    """What the names of all Jobs begin with that pull images for an upgrade."""
    return f"{job_prefix(release, upgrade)}pull-"
