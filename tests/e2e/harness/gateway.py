"""A Gateway with a real data plane: the Gateway API's CRDs and Traefik, installed only where a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cluster import goparts
from harness.asking import python_job
from harness.kube import CLUSTER_SCOPED, ApiError, Kube, Object, read_manifests
from harness.load_run import RESTRICTED_CONTAINER, RESTRICTED_POD
from harness.namespaces import delete_namespace, make_namespace
from harness.waiting import poll, wait_available, wait_condition

NAMESPACE = "edge"
NAME = "edge"
IMAGE = "localhost/traefik:dev"
#: A listener's port must be that of an entry point of Traefik's.
PORT, HEALTH_PORT = 8000, 8080
START_SECONDS = 120.0
#: Answers in a row, each over a connection of its own, and how long they are waited for.
ANSWERS, ANSWER_SECONDS = 20, 30
_ASKING = """
import json, sys, threading, time, urllib.request
ends_at, in_a_row, told = time.monotonic() + {seconds}, 0, ""
while in_a_row < {answers}:
    if time.monotonic() > ends_at:
        sys.exit("not answered by {version}: " + told)
    try:
        with urllib.request.urlopen(urllib.request.Request({url!r}, headers={headers!r}), timeout=5) as answer:
            told = json.load(answer)["version"]
    except OSError as error:
        told = str(error)
    in_a_row = in_a_row + 1 if told == {version!r} else 0
    if not in_a_row:
        threading.Event().wait(0.2)
"""
_ACCOUNT = "traefik-controller"
_RIGHTS = Path("docs/content/reference/dynamic-configuration/kubernetes-gateway-rbac.yml")
_DEFINITIONS = Path("config/crd/standard")


@contextmanager
def running(kube: Kube) -> Iterator[None]:
    """Traefik and one Gateway for the routes of all namespaces; the CRDs stay, as an administrator's would."""
    _define(kube)
    make_namespace(kube, NAMESPACE)
    try:
        kube.apply_all([*_rights(), *_traefik(), *_edge()])
        wait_available(kube, NAME, NAMESPACE, deadline_seconds=START_SECONDS)
        wait_condition(kube, "Gateway", NAME, NAMESPACE, "Programmed", deadline_seconds=START_SECONDS)
        yield
    finally:
        delete_namespace(kube, NAMESPACE)
        for obj in (*_rights(), _gateway_class()):
            if obj["kind"] in CLUSTER_SCOPED:
                kube.delete(obj["kind"], obj["metadata"]["name"])


def url(path: str) -> str:
    """Where users reach the Gateway; the host that they ask for says which route is theirs."""
    return f"http://{NAME}.{NAMESPACE}.svc.cluster.local{path}"


def http_route(namespace: str, service: str, *, host: str) -> Object:
    """A route as a user's chart would render it."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": service, "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": NAME, "namespace": NAMESPACE}],
            "hostnames": [host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"name": service, "port": 80}],
                }
            ],
        },
    }


def wait_answers(kube: Kube, namespace: str, host: str, version: str, *, name: str, **headers: str) -> None:
    """Until that version answers who sends these headers (with _ for a dash), many times in a row."""
    sent = {"Host": host, **{key.replace("_", "-"): value for key, value in headers.items()}}
    program = _ASKING.format(
        url=url("/version"), headers=sent, version=version, answers=ANSWERS, seconds=ANSWER_SECONDS
    )
    kube.apply_all([python_job(name, program)], namespace=namespace)
    wait_condition(kube, "Job", name, namespace, "Complete")


def wait_accepted(kube: Kube, namespace: str, route: str) -> None:
    """Until the Gateway took the route in as it is now."""

    def accepted() -> bool | None:
        item = kube.need("HTTPRoute", route, namespace)
        said = [
            (condition["type"], condition["status"], condition["observedGeneration"])
            for parent in item.get("status", {}).get("parents", [])
            for condition in parent["conditions"]
        ]
        generation = item["metadata"]["generation"]
        wanted = {("Accepted", "True", generation), ("ResolvedRefs", "True", generation)}
        return True if wanted <= set(said) else None

    poll(accepted, what=f"HTTPRoute {namespace}/{route} to be accepted", deadline_seconds=START_SECONDS)


def _define(kube: Kube) -> None:
    directory = goparts.module_files(goparts.PARTS["traefik"], goparts.GATEWAY_API) / _DEFINITIONS
    for path in sorted(directory.glob("gateway.networking.k8s.io_*.yaml")):
        for definition in read_manifests(path):
            definition.pop("status", None)
            definition["metadata"].pop("creationTimestamp", None)
            kube.apply(definition)
            name = definition["metadata"]["name"]
            wait_condition(kube, "CustomResourceDefinition", name, "", "Established")
    for kind in ("GatewayClass", "Gateway", "HTTPRoute"):
        poll(partial(_served, kube, kind), what=f"{kind}s to be served", deadline_seconds=START_SECONDS)


def _served(kube: Kube, kind: str) -> bool | None:
    """What is established is served a moment later, and stored a moment after that."""
    try:
        kube.objects(kind)
    except ApiError as error:
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS):
            raise
        return None
    return True


def _rights() -> list[Object]:
    """What Traefik's own documentation says that it needs."""
    source = goparts.module_files(goparts.PARTS["traefik"], goparts.TRAEFIK)
    objects = read_manifests(source / _RIGHTS)
    for obj in objects:
        for subject in obj.get("subjects", []):
            subject["namespace"] = NAMESPACE
    account = {"name": _ACCOUNT, "namespace": NAMESPACE}
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, *objects]


def _traefik() -> list[Object]:
    labels, metadata = {"app": NAME}, {"name": NAME, "namespace": NAMESPACE}
    arguments = [
        f"--entryPoints.web.address=:{PORT}",
        f"--entryPoints.traefik.address=:{HEALTH_PORT}",
        "--ping=true",
        "--providers.kubernetesgateway=true",
        # Two seconds otherwise: so long a change waits that comes soon after another.
        "--providers.providersthrottleduration=100ms",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
    ]
    container: dict[str, Any] = {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "ports": [{"name": "web", "containerPort": PORT}, {"name": "health", "containerPort": HEALTH_PORT}],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": "health"}, "periodSeconds": 1},
        "securityContext": RESTRICTED_CONTAINER,
        # Five thousand connections of users need half a gigabyte.
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "2Gi"}},
    }
    pod = {"serviceAccountName": _ACCOUNT, "securityContext": RESTRICTED_POD, "containers": [container]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"name": "web", "port": 80, "targetPort": "web"}]},
    }
    return [deployment, service]


def _gateway_class() -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": NAME},
        "spec": {"controllerName": "traefik.io/gateway-controller"},
    }


def _edge() -> list[Object]:
    listener = {
        "name": "web",
        "port": PORT,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"gatewayClassName": NAME, "listeners": [listener]},
    }
    return [_gateway_class(), gateway]
