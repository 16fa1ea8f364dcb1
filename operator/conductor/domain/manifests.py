"""Objects that we create beside Deployments: revision records, Services, migration Jobs. Pure builders."""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any, Protocol

from conductor.api import names
from conductor.api.spec import Colour, Component, ComponentService, Migrations
from conductor.domain.logins import LoginPair
from conductor.domain.revision import Revision, steady_selector
from conductor.domain.snapshot import Snapshot

_PROGRESS_PORT = {"name": "progress", "containerPort": names.PROGRESS_PORT, "protocol": "TCP"}
#: A Job's pods are restarted by us as a new attempt, never by the Job: one attempt, one fence token.
_BACKOFF_LIMIT = 0
#: A Job's pod leaves a node that does not answer after so long, not after the five minutes that are usual: users wait.
_LOST_NODE_SECONDS = 30
_LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
#: Beyond the phase's own deadline, which the operator keeps: for when no operator is there to keep it.
_JOB_SLACK = timedelta(minutes=10)


class Run(Protocol):
    """Whose migration Jobs these are: an upgrade's, or those of a contract step that it left for later."""

    @property
    def id(self) -> str: ...
    @property
    def from_(self) -> str: ...
    @property
    def to(self) -> str: ...
    @property
    def attempt(self) -> int: ...


def revision_record(s: Snapshot, revision: Revision, raw_spec: dict[str, Any]) -> dict[str, Any]:
    """The ControllerRevision that keeps an accepted spec for as long as anything of it may run."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": names.revision_name(s.name, revision.hash),
            "namespace": s.namespace,
            "labels": {names.LABEL_RELEASE: s.name, names.LABEL_REVISION: revision.hash},
        },
        "revision": s.generation,
        "data": {
            "hash": revision.hash,
            "pinned": list(revision.pinned),
            "spec": raw_spec,
            **({"adopted": revision.adopted.model_dump()} if revision.adopted else {}),
        },
    }


def service_ports(service: ComponentService) -> tuple[dict[str, Any], ...]:
    """Ports as a Service wants them."""
    return tuple(
        {
            "name": port.name,
            "port": port.port,
            "protocol": "TCP",
            "targetPort": port.target_port if port.target_port is not None else port.port,
        }
        for port in service.ports
    )


def preview_service(
    s: Snapshot, revision: Revision, component: Component, service: ComponentService
) -> dict[str, Any]:
    """The Service through which only the candidate answers; same ports as the real one."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.preview_name(service.name),
            "namespace": s.namespace,
            "labels": {
                names.LABEL_RELEASE: s.name,
                names.LABEL_COMPONENT: component.name,
                names.LABEL_ROLE: names.ROLE_PREVIEW,
            },
        },
        "spec": {
            "selector": steady_selector(s.name, component, revision, service.name),
            "ports": list(service_ports(service)),
        },
    }


def serving_service(
    s: Snapshot, revision: Revision, component: Component, service: ComponentService
) -> dict[str, Any]:
    """The Service that users reach. Created once at first install; later only patched."""
    manifest = preview_service(s, revision, component, service)
    manifest["metadata"]["name"] = service.name
    manifest["metadata"]["labels"][names.LABEL_ROLE] = names.ROLE_SERVING
    manifest["metadata"]["annotations"] = _ours(s)
    return manifest


def colour_service(
    s: Snapshot, revision: Revision, component: Component, service: ComponentService, colour: Colour
) -> dict[str, Any]:
    """The Service by which routes, and pods of it, reach one colour. Created once; later only patched."""
    manifest = preview_service(s, revision, component, service)
    manifest["metadata"]["name"] = names.colour_service_name(service.name, colour)
    manifest["metadata"]["labels"][names.LABEL_ROLE] = names.ROLE_COLOUR
    manifest["metadata"]["annotations"] = _ours(s)
    return manifest


def _ours(s: Snapshot) -> dict[str, str]:
    return {names.ANNOTATION_EPOCH: str(s.epoch), names.ANNOTATION_CREATED: "true"}


def migration_digest(migrations: Migrations, run: Run, verb: str, logins: LoginPair | None = None) -> str:
    """What makes a Job the one that is looked for: what runs, against which database, for what."""
    secret = migrations.database_secret_ref
    told = [migrations.image, secret.name, secret.key, verb, run.id, run.from_, run.to]
    told += [logins.idle, logins.serving] if logins else []
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[: names.HASH_LENGTH]


def migration_job(
    s: Snapshot,
    run: Run,
    migrations: Migrations,
    verb: str,
    *,
    until: datetime | None = None,
    logins: LoginPair | None = None,
    accept_loss: bool = False,
) -> dict[str, Any]:
    """One attempt at one migration verb, bounded by its phase's deadline. Its answer is the termination message."""
    name = names.job_name(s.name, run.id, verb, run.attempt)
    labels = {
        names.LABEL_RELEASE: s.name,
        names.LABEL_ROLE: names.ROLE_MIGRATION,
        names.LABEL_UPGRADE: run.id,
    }
    arguments = {
        "--release": s.name,
        "--namespace": s.namespace,
        "--upgrade": run.id,
        "--attempt": str(run.attempt),
        "--from": run.from_,
        "--to": run.to,
    }
    if verb == "contract":
        # The phase that asks for this Job was written before: it is the intent that ended the way back.
        arguments["--permit"] = f"{run.id}/contract"
    flags = ["--accept-loss"] if accept_loss else []
    if logins is not None:
        arguments["--login-idle"] = logins.idle
        if logins.serving:
            arguments["--login-serving"] = logins.serving
    if s.status.migrations is not None and s.status.migrations.ledger_line:
        arguments["--ledger-line"] = str(s.status.migrations.ledger_line)
    urls = {"DATABASE_URL": migrations.database_secret_ref.key}
    urls |= {f"REPLICA_URL_{number}": key for number, key in enumerate(migrations.replica_keys, start=1)}
    # Only a backfill takes long enough to be asked how far it is.
    shown = (
        [{"name": "MIGRATOR_PROGRESS_PORT", "value": str(names.PROGRESS_PORT)}] if verb == "migrate" else []
    )
    annotations = {names.ANNOTATION_DIGEST: migration_digest(migrations, run, verb, logins)}
    bound = (
        {}
        if until is None
        else {"activeDeadlineSeconds": round((until - s.now + _JOB_SLACK).total_seconds())}
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": s.namespace, "labels": labels, "annotations": annotations},
        "spec": {
            "backoffLimit": _BACKOFF_LIMIT,
            **bound,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "tolerations": [
                        {
                            "key": taint,
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": _LOST_NODE_SECONDS,
                        }
                        for taint in _LOST_NODE_TAINTS
                    ],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "migrator",
                            "image": migrations.image,
                            "args": [verb, *(part for pair in arguments.items() for part in pair), *flags],
                            "env": [*shown, *(_from_secret(migrations, *url) for url in urls.items())],
                            **({"ports": [_PROGRESS_PORT]} if shown else {}),
                            "terminationMessagePolicy": "File",
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                },
            },
        },
    }


def _from_secret(migrations: Migrations, variable: str, key: str) -> dict[str, Any]:
    reference = {"name": migrations.database_secret_ref.name, "key": key}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}
