"""The rig from a test's side: the real operator in a pod behind a fault proxy, for the releases of one namespace.

The pod is the chart's own Deployment as a Pod, with the rig's program around the operator's command: its image,
service account, rights and network are those of an ordinary installation. No other operator may look after the
namespace meanwhile.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import operator_install
from harness.faults import Fault, as_json
from harness.kube import Kube, Object
from harness.operator_install import CHART, helm
from harness.rig import CLOCK_LIBRARY, CONTROL_PORT, PROMETHEUS_PORT
from harness.waiting import poll, wait_condition

HELM_RELEASE = "rig"
POD = "rig"
CODE = "rig-code"
PROMETHEUS_SERVICE = "rig-prometheus"
PROMETHEUS_URL = "http://prometheus.monitoring.svc:9090"
LABEL = {"maestro-conductor.io/rig": "true"}
#: What runs inside the pod, out of this very package.
MODULES = ("__init__", "writes", "faults", "apiproxy", "rig")
OPERATOR_PATH = "/opt/app"
OPERATOR_PORT = 8080
START_SECONDS = 60.0
LEADING_SECONDS = 60.0


class Rig:
    """The control of one rig."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    # --- the operator's life

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", "/state")
        return found

    def restart(self) -> None:
        """Kill the operator wherever it is, and let it start anew."""
        self._ask("POST", "/child/restart")

    def end(self) -> None:
        """Kill the operator and keep it away."""
        self._ask("POST", "/child/end")

    def start(self) -> None:
        self._ask("POST", "/child/start")

    def suspend(self) -> None:
        """SIGSTOP: it still holds what it was about to write."""
        self._ask("POST", "/child/stop")

    def resume(self) -> None:
        self._ask("POST", "/child/cont")

    def jump(self, seconds: float) -> None:
        """The clock of the operator's machine is so much ahead from now on, as the operator sees it.

        Only a rig that was made with a `clock` can do that.
        """
        self._ask("POST", "/child/jump", query={"seconds": str(seconds)})

    def deaths(self) -> list[dict[str, Any]]:
        """How each life ended; `killed_at` is empty where the operator died of itself."""
        found: list[dict[str, Any]] = self.state()["deaths"]
        return found

    def wait_leading(self, *, since: int = 0, deadline_seconds: float = LEADING_SECONDS) -> None:
        """Wait until the present life of the operator has taken the Lease."""

        def leads() -> bool | None:
            lives = self.state()["lives"]
            taken = [item for item in self.seen(since) if item["label"] == "acquire Lease"]
            return True if any(item["client"] == lives and item["status"] < 300 for item in taken) else None

        poll(leads, what="the operator to lead", deadline_seconds=deadline_seconds, last_seen=self.state)

    # --- the API server as the operator sees it

    def begin(self) -> int:
        """Count points anew; answers the number of the next write."""
        return int(self._ask("POST", "/api/begin")["number"])

    def seen(self, since: int = 0) -> list[dict[str, Any]]:
        """Every write from this number on."""
        writes: list[dict[str, Any]] = self._ask("GET", "/api/seen", query={"from": str(since)})
        return writes

    def set_faults(self, *faults: Fault, proxy: str = "api") -> None:
        """What happens from now on, instead of what was said before; none: nothing does."""
        self._ask("POST", f"/{proxy}/faults", body=[as_json(fault) for fault in faults])

    def fired(self, proxy: str = "api") -> list[str]:
        """The points at which faults have happened."""
        faults = self.state()["proxies"][proxy]["faults"]
        return [point for fault in faults for point in fault["fired"]]

    def wait_fired(self, *, deadline_seconds: float, proxy: str = "api") -> list[str]:
        return poll(
            lambda: self.fired(proxy) or None, what="the fault to happen", deadline_seconds=deadline_seconds,
            last_seen=lambda: [item["point"] for item in self.seen()][-5:],
        )  # fmt: skip

    def server(self, deed: str, proxy: str = "api") -> dict[str, Any]:
        """refuse, hang, come-back, release, cut-watches or expire-watches."""
        told: dict[str, Any] = self._ask("POST", f"/{proxy}/{deed}")
        return told

    def server_jump(self, seconds: float) -> None:
        """The API server's answers say that it is so much later from now on."""
        self._ask("POST", "/api/jump", query={"seconds": str(seconds)})

    # --- what the operator tells of itself

    def metrics(self) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{POD}:{OPERATOR_PORT}/proxy/metrics"
        return "\n".join(self.kube.lines(path, query={}, seconds=10))

    def log(self, tail: int = 300) -> str:
        return self.kube.log(POD, self.namespace, tail=tail)

    def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        base = f"/api/v1/namespaces/{self.namespace}/pods/{POD}:{CONTROL_PORT}/proxy"
        return self.kube.request(method, base + path, query=query, body=body)


def prometheus_url(namespace: str) -> str:
    """Prometheus through the proxy of this namespace's rig, which can lie; as a release's spec would name it."""
    return f"http://{PROMETHEUS_SERVICE}.{namespace}.svc:9090"


@contextmanager
def rig(
    kube: Kube,
    namespace: str,
    *,
    values: Sequence[str] = (),
    clock: bytes | None = None,
    failed: Callable[[], bool] = lambda: False,
) -> Iterator[Rig]:
    """A rig in this namespace, leading, for the block; at the end nothing of it is left, in the cluster either.

    `clock`: the library that lets the operator's clock jump.
    """
    _install_chart(namespace, values)
    try:
        control = Rig(kube, namespace)
        for obj in _objects(kube, namespace, clock):
            kube.apply(obj)
        wait_condition(kube, "Pod", POD, namespace, "Ready", deadline_seconds=START_SECONDS)
        control.wait_leading()
        try:
            yield control
        except BaseException:
            print(f"--- the operator in rig {namespace}\n{control.log()}")
            raise
        else:
            if failed():
                print(f"--- the operator in rig {namespace}\n{control.log()}")
        finally:
            kube.delete("Pod", POD, namespace, grace_seconds=0)
    finally:
        helm("uninstall", HELM_RELEASE, "--namespace", namespace, "--ignore-not-found")


def _install_chart(namespace: str, values: Sequence[str]) -> None:
    """Rights and a service account, as the chart gives them for one namespace; its Deployment stays empty."""
    settings = (
        f"namespaces={{{namespace}}}",
        "replicas=0",
        "crd.install=false",
        "metrics.service=false",
        *values,
    )
    flags = [part for value in settings for part in ("--set", value)]
    helm("upgrade", "--install", HELM_RELEASE, str(CHART), "--namespace", namespace, *flags)


def _objects(kube: Kube, namespace: str, clock: bytes | None) -> list[Object]:
    here = Path(__file__).resolve().parent
    code = {f"{name}.py": (here / f"{name}.py").read_text() for name in MODULES}
    binaries = {CLOCK_LIBRARY.name: base64.b64encode(clock).decode()} if clock else {}
    selector = f"app.kubernetes.io/instance={HELM_RELEASE},{operator_install.SELECTOR.split(',')[0]}"
    (deployment,) = kube.objects("Deployment", namespace, labels=selector)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _named(CODE, namespace),
            "data": code,
            "binaryData": binaries,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _named(PROMETHEUS_SERVICE, namespace),
            "spec": {"selector": LABEL, "ports": [{"port": 9090, "targetPort": PROMETHEUS_PORT}]},
        },
        rig_pod(deployment["spec"]["template"], namespace),
    ]


def rig_pod(template: Object, namespace: str) -> Object:
    """The Pod of an operator's template with the rig around its command."""
    spec = copy.deepcopy(template["spec"])
    (container,) = spec["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        container.pop(probe, None)
    own_arguments = container.pop("args")
    # In a container of its own the operator has the same process id after every restart, and so the same identity.
    operator = ["python", "-m", "conductor", *own_arguments, "--identity=rig"]
    container |= {
        "command": ["python", "-m", "harness.rig", *operator],
        "readinessProbe": {"httpGet": {"path": "/state", "port": CONTROL_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": "768Mi"}},
    }
    container["env"] += [
        {"name": "PYTHONPATH", "value": "/rig"},
        {"name": "OPERATOR_PYTHONPATH", "value": OPERATOR_PATH},
        {"name": "PROMETHEUS_URL", "value": PROMETHEUS_URL},
    ]
    container["volumeMounts"] += [
        {"name": "rig-code", "mountPath": "/rig/harness", "readOnly": True},
        {"name": "rig-token", "mountPath": "/var/run/rig", "readOnly": True},
    ]
    # Not where a client library would find it: only the proxy holds the credentials.
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 7200}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    spec["volumes"] += [
        {"name": "rig-code", "configMap": {"name": CODE}},
        {"name": "rig-token", "projected": {"sources": [token, authority]}},
    ]
    spec |= {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _named(POD, namespace) | {"labels": LABEL},
        "spec": spec,
    }


def _named(name: str, namespace: str) -> Object:
    return {"name": name, "namespace": namespace}
