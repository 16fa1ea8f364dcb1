"""The release of bench/load/shedapp, which tells its version over four protocols, and its users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.load_run import RESTRICTED_CONTAINER, RESTRICTED_POD, HeldClients, LoadPlan
from harness.load_summary import GRPC, GRPC_STREAM, H2, PROTOCOLS, WEBSOCKET
from harness.podinfo import PROMETHEUS_URL

NAME = "shedapp"
COMPONENT = "web"
DRAIN_IMAGE = "localhost/drain:dev"
SETTLE_SECONDS = 2
OLD_VERSION = "1.0.0"
NEW_VERSION = "1.1.0"
#: Ports of the container and of the Service, by name.
PORTS = {"http": (8080, 80), "h2c": (8081, 81), "grpc": (8082, 82), "websocket": (8083, 83)}
_PORT_OF = {H2: "h2c", GRPC: "grpc", GRPC_STREAM: "grpc", WEBSOCKET: "websocket"}
#: It tells HTTP/1.1 clients `Connection: close` for so long, and ends whatever is left after so long.
FAREWELL_SECONDS, OWN_SHUTDOWN_SECONDS = 5, 10
GRACE_AFTER_SHUTDOWN_SECONDS = 5


@dataclass(frozen=True)
class ShedappOptions:
    """What tests and the benchmark vary; times are short, so that an upgrade takes seconds."""

    replicas: int = 3
    soak: str = "10s"
    window: str = "10s"
    drain_seconds: int = 2
    #: What ends the preStop hook before its time (`preStopHook.waiter.until`); empty: nothing does.
    waiter: str = ""
    #: Whether the application is told of the hook, sends HTTP/1.1 clients away then, and ends it when they have gone.
    told: bool = False
    #: Fewer verification requests than in production: what is tested here is not how sure a verdict is.
    miss_rate: float = 0.05


def image(version: str) -> str:
    return f"localhost/shedapp:{version}"


def pod_template(version: str, options: ShedappOptions) -> dict[str, Any]:
    """The pod of one version, under restricted pod security, without a shell, scraped by Prometheus."""
    container = {
        "name": NAME,
        "image": image(version),
        "imagePullPolicy": "IfNotPresent",
        "args": [f"-farewell={FAREWELL_SECONDS}s", f"-grace={OWN_SHUTDOWN_SECONDS}s"],
        "ports": [{"name": name, "containerPort": port} for name, (port, _) in PORTS.items()],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
        },
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
    }
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORTS["http"][0]),
        "prometheus.io/path": "/metrics",
    }
    grace = options.drain_seconds + OWN_SHUTDOWN_SECONDS + GRACE_AFTER_SHUTDOWN_SECONDS
    return {
        "metadata": {"labels": {"app": NAME}, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": grace,
            "automountServiceAccountToken": False,
            "securityContext": RESTRICTED_POD,
            "containers": [container],
        },
    }


def pre_stop_hook(options: ShedappOptions) -> dict[str, Any]:
    hook: dict[str, Any] = {"enabled": True, "drainSeconds": options.drain_seconds}
    if options.waiter:
        hook["waiter"] = {"image": DRAIN_IMAGE, "until": options.waiter, "settleSeconds": SETTLE_SECONDS}
    if options.told:
        hook["httpGet"] = {"path": "/drain", "port": "http"}
    return hook


def release_spec(version: str, options: ShedappOptions = ShedappOptions()) -> dict[str, Any]:
    """The whole `spec` of a ControlPlaneRelease for this version."""
    ports = [{"name": name, "port": port, "targetPort": name} for name, (_, port) in PORTS.items()]
    check = {"component": COMPONENT, "service": NAME, "port": "http", "path": "/version"}
    return {
        "version": version,
        "strategy": "BlueGreen",
        "components": [
            {
                "name": COMPONENT,
                "replicas": options.replicas,
                "services": [{"name": NAME, "ports": ports}],
                "template": pod_template(version, options),
            }
        ],
        "traffic": {
            "current": "blue",
            "provider": "Service",
            "switchHealth": {
                "errorRate": 0.01,
                "p95LatencyMs": 900,
                "window": options.window,
                "missRate": options.miss_rate,
                "noData": "Wait",
            },
        },
        "preStopHook": pre_stop_hook(options),
        "verification": {"http": [{**check, "expectStatus": 200, "versionJson": "version"}]},
        "soak": options.soak,
        "deadlines": {"bringUp": "90s", "verify": "120s", "rollback": "2m"},
        "metrics": {"prometheus": {"url": PROMETHEUS_URL, "preset": "http"}},
    }


def load_plan(namespace: str, *, clients: int, pace_seconds: float) -> LoadPlan:
    """So many clients of each protocol, each of which asks about once in `pace_seconds` over one connection."""
    held = {kind: HeldClients(clients, PORTS[port][1]) for kind, port in _PORT_OF.items()}
    return LoadPlan(
        url=f"http://{NAME}.{namespace}.svc.cluster.local/version",
        version_json="version",
        keep_alive_clients=clients,
        one_shot_clients=0,
        held=held,
        each_client=True,
        rate=clients * len(PROTOCOLS) / pace_seconds,
    )
