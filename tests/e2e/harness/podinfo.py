"""The release of podinfo, an application that knows nothing of us, in its two versions; and good ways to break it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from harness.load_run import RESTRICTED_CONTAINER, RESTRICTED_POD, LoadPlan

NAME = "podinfo"
OLD_VERSION = "6.9.0"
NEW_VERSION = "6.9.1"
PORT = 9898
PROMETHEUS_URL = "http://prometheus.monitoring.svc:9090"
#: podinfo itself goes on answering for 3 s after SIGTERM and then gives requests 5 s to end.
OWN_SHUTDOWN_SECONDS = 3 + 5
DRAIN_SECONDS = 2
GRACE_SECONDS = DRAIN_SECONDS + OWN_SHUTDOWN_SECONDS + 10


@dataclass(frozen=True)
class PodinfoOptions:
    """What tests vary; times are short, so that an upgrade takes seconds."""

    replicas: int = 3
    soak: str = "10s"
    window: str = "15s"
    prometheus_url: str = PROMETHEUS_URL
    bring_up: str = "60s"
    verify: str = "120s"
    before_switch: bool = False


#: Small, so that both colours of all tests that share a cluster fit a node of two processors beside each other.
CPU_REQUEST = "20m"


def image(version: str) -> str:
    return f"localhost/podinfo:{version}"


def pod_template(version: str, *, arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """The pod of one version, under restricted pod security, scraped by Prometheus."""
    probe = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 2}
    container = {
        "name": NAME,
        "image": image(version),
        "imagePullPolicy": "IfNotPresent",
        "args": [f"--port={PORT}", "--level=warn", *arguments],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": probe,
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": CPU_REQUEST, "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
    }
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
    }
    return {
        "metadata": {"labels": {"app": NAME}, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "automountServiceAccountToken": False,
            "securityContext": RESTRICTED_POD,
            "containers": [container],
        },
    }


def release_spec(
    version: str, options: PodinfoOptions = PodinfoOptions(), *, arguments: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The whole `spec` of a ControlPlaneRelease for this version."""
    return {
        "version": version,
        "strategy": "BlueGreen",
        "components": [
            {
                "name": "web",
                "replicas": options.replicas,
                "services": [{"name": NAME, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}],
                "template": pod_template(version, arguments=arguments),
            }
        ],
        "traffic": {
            "current": "blue",
            "provider": "Service",
            "switchHealth": {
                "errorRate": 0.01,
                "p95LatencyMs": 900,
                "window": options.window,
                "noData": "Wait",
            },
        },
        "preStopHook": {"enabled": True, "drainSeconds": DRAIN_SECONDS},
        "verification": {
            "http": [
                {
                    "component": "web",
                    "service": NAME,
                    "port": "http",
                    "path": "/version",
                    "expectStatus": 200,
                    "versionJson": "version",
                }
            ]
        },
        "soak": options.soak,
        "approval": {"beforeSwitch": options.before_switch},
        "deadlines": {"bringUp": options.bring_up, "verify": options.verify, "rollback": "2m"},
        "metrics": {"prometheus": {"url": options.prometheus_url, "preset": "http"}},
    }


def changed(spec: dict[str, Any], **at: Any) -> dict[str, Any]:
    """A copy of a spec with other values; the keys are paths with `__`: traffic__ramp, components__0__replicas."""
    copied = copy.deepcopy(spec)
    for path, value in at.items():
        *parents, last = path.split("__")
        node: Any = copied
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = value
    return copied


#: Users of tests that move podinfo: few requests over kept connections. An application that closes a connection at
#: its end without having told its client loses what is on the way just then; `make bench-podinfo` says how often.
SPARING_USERS: dict[str, int] = {
    "keep_alive_clients": 5,
    "keep_alive_rate": 1,
    "one_shot_clients": 50,
    "rate": 120,
}


def service_url(namespace: str, path: str = "/version") -> str:
    return f"http://{NAME}.{namespace}.svc.cluster.local{path}"


def load_plan(namespace: str, **changes: Any) -> LoadPlan:
    """Users of podinfo: the standard load on /version, whose answer tells the version."""
    return LoadPlan(**{"url": service_url(namespace), "version_json": "version", **changes})
