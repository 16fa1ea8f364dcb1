"""What stands beside the operator in `bench/scale.py`: kwok, Argo Rollouts, and a Prometheus with synthetic traffic."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from cluster import goparts
from harness.kube import Kube, Object
from harness.waiting import wait_available
from scenarios import fleet
from scenarios.processes import Process

SYSTEM = "scale-system"
METRICS = "scale-metrics"
ARGO = "argo-rollouts"
IMAGES = ("kwok:dev", "argo-rollouts:dev", "podinfo:6.9.0")
TRAFFIC_SCRIPT = Path(__file__).resolve().parents[1] / "scale_traffic.py"
_START_SECONDS = 180
#: What kwok's own `fast` profile is made of.
_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
#: Where its profile gives a pod an address of its own.
_POD_ADDRESS = re.compile(r"podIP: \{\{.*?podIPs:\n.*?- ip: \{\{ \. \| Quote \}\}", re.DOTALL)


_ONLY_PENDING = re.compile(r"^      - 'Pending'$", re.MULTILINE)


def install_kwok(kube: Kube) -> None:
    """Nodes that are not real, and the program that plays their pods.

    All of these pods share the address of one real one, so that a request through a Service is answered.
    """
    kube.apply_all([_namespace(SYSTEM), *_admin("kwok", SYSTEM)])
    answers = _answering_address(kube)
    arguments = [
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--cidr=10.200.0.0/16",
        "--node-lease-duration-seconds=40",
        "--kubeconfig=",
        "--config=/config/stages.yaml",
    ]
    stages = goparts.module_files(goparts.PARTS["kwok"], goparts.KWOK) / "kustomize" / "stage"
    texts = [path.read_text() for part in _STAGES for path in sorted((stages / part).glob("*-*.yaml"))]
    played, replaced = _POD_ADDRESS.subn(
        f'podIP: "{answers}"\n      podIPs:\n      {{{{ range . }}}}\n      - ip: "{answers}"',
        "\n---\n".join(texts),
    )
    # A node that was late with its heartbeat takes readiness from its pods; they get it back.
    played, again = _ONLY_PENDING.subn(r"\g<0>\n      - 'Running'", played)
    if (replaced, again) != (1, 1):
        raise LookupError(f"kwok's stages are others than expected: {replaced} addresses, {again} phases")
    kube.apply(_config_map("kwok", SYSTEM, {"stages.yaml": played}))
    content = hashlib.sha256(played.encode()).hexdigest()
    kube.apply(_deployment("kwok", SYSTEM, "localhost/kwok:dev", arguments, config="kwok", content=content))
    wait_available(kube, "kwok", SYSTEM, deadline_seconds=_START_SECONDS)
    for node in fleet.nodes():
        kube.apply(node)


def _answering_address(kube: Kube) -> str:
    """The address of a pod that answers requests of the verification well."""
    arguments = ["/podinfo", "--port=8080", "--level=error"]
    kube.apply(_deployment("answers", SYSTEM, "localhost/podinfo:6.9.0", [], command=arguments, port=8080))
    wait_available(kube, "answers", SYSTEM, deadline_seconds=_START_SECONDS)
    return str(Process(kube, SYSTEM, "app=answers", 8080).pod_object()["status"]["podIP"])


def argo_rollouts(kube: Kube) -> Process:
    return Process(kube, ARGO, "app.kubernetes.io/name=argo-rollouts", 8090)


def install_argo_rollouts(kube: Kube) -> None:
    """Argo Rollouts by its own manifest, in the version that the part pins, with our build of it."""
    kube.apply(_namespace(ARGO))
    manifest = goparts.module_files(goparts.PARTS["argo-rollouts"], goparts.ARGO_ROLLOUTS) / "manifests"
    for obj in yaml.safe_load_all((manifest / "install.yaml").read_text()):
        if obj is None:
            continue
        if obj["kind"] == "Deployment":
            container = obj["spec"]["template"]["spec"]["containers"][0]
            container["image"] = "localhost/argo-rollouts:dev"
            container["imagePullPolicy"] = "IfNotPresent"
            obj["spec"]["template"]["spec"]["securityContext"]["runAsUser"] = 65532
        if obj["kind"] == "ClusterRoleBinding":
            obj["subjects"][0]["namespace"] = ARGO
        cluster_wide = obj["kind"] in ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding")
        if not cluster_wide:
            obj["metadata"]["namespace"] = ARGO
        kube.apply(obj)
    wait_available(kube, "argo-rollouts", ARGO, deadline_seconds=_START_SECONDS)


def install_traffic(kube: Kube) -> None:
    """A real Prometheus that scrapes one program, which counts requests that nobody sent."""
    kube.apply_all([_namespace(METRICS), *_admin("traffic", METRICS)])
    script = {"scale_traffic.py": TRAFFIC_SCRIPT.read_text()}
    kube.apply(_config_map("traffic", METRICS, script))
    kube.apply(
        _deployment(
            "traffic",
            METRICS,
            "localhost/conductor:dev",
            [],
            command=["python", "/config/scale_traffic.py"],
            config="traffic",
            port=9100,
        )
    )
    kube.apply(_service("traffic", METRICS, 9100))
    scrape = {
        "global": {"scrape_interval": "5s", "scrape_timeout": "5s"},
        "scrape_configs": [
            {
                "job_name": "traffic",
                "honor_labels": True,
                "static_configs": [{"targets": ["traffic:9100"]}],
            }
        ],
    }
    kube.apply(_config_map("prometheus", METRICS, {"prometheus.yml": yaml.safe_dump(scrape)}))
    arguments = ["--config.file=/config/prometheus.yml", "--storage.tsdb.path=/tmp/data", "--log.level=warn"]
    kube.apply(
        _deployment(
            "prometheus", METRICS, "localhost/prometheus:dev", arguments, config="prometheus", port=9090
        )
    )
    kube.apply(_service("prometheus", METRICS, 9090))
    for name in ("traffic", "prometheus"):
        wait_available(kube, name, METRICS, deadline_seconds=_START_SECONDS)


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _admin(name: str, namespace: str) -> list[Object]:
    rules = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        {
            "apiVersion": f"{rules}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"scale-{name}"},
            "roleRef": {"apiGroup": rules, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


def _config_map(name: str, namespace: str, data: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _service(name: str, namespace: str, port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": port}]},
    }


def _deployment(
    name: str,
    namespace: str,
    image: str,
    arguments: list[str],
    *,
    command: list[str] | None = None,
    config: str = "",
    content: str = "",
    port: int = 0,
) -> Object:
    """One pod. `content` stands for what its ConfigMap holds: another one starts it anew."""
    container: dict[str, Any] = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent"}
    # Without a request it gets what is left of a busy machine, and nodes without heartbeats are not ready.
    container["resources"] = {"requests": {"cpu": "100m"}}
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    if arguments:
        container["args"] = arguments
    if command:
        container["command"] = command
    if port:
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    if config:
        container["volumeMounts"].append({"name": "config", "mountPath": "/config"})
        volumes.append({"name": "config", "configMap": {"name": config}})
    labels = {"app": name}
    has_account = name in ("kwok", "traffic")
    pod: dict[str, Any] = {"containers": [container], "volumes": volumes}
    if has_account:
        pod["serviceAccountName"] = name
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"read": content}}, "spec": pod},
        },
    }
