"""podinfo behind a plain Service, and a Job that asks a Service by name and tells who answered."""

from __future__ import annotations

from harness import podinfo
from harness.kube import Object
from harness.load_run import HOSTNAME_LABEL, RESTRICTED_CONTAINER, RESTRICTED_POD

#: Asks a Service by its short and its full name, and prints which pods answered. Node proxies learn of a new
#: Service and of its pods a moment after they are there: the first answer of each is waited for, others are not.
ASKING = """
import json, threading, time, urllib.request
names, ends_at = set(), time.monotonic() + 30
for host in ("{service}", "{service}.{namespace}.svc.cluster.local"):
    answers = 0
    while answers < 30 or (len(names) < {replicas} and time.monotonic() < ends_at):
        try:
            with urllib.request.urlopen("http://" + host + "/", timeout=5) as answer:
                names.add(json.load(answer)["hostname"])
            answers += 1
        except OSError:
            if answers or time.monotonic() > ends_at:
                raise
            threading.Event().wait(0.2)
print(json.dumps(sorted(names)))
"""


def web(replicas: int) -> list[Object]:
    """podinfo as a plain Deployment behind a plain Service."""
    selector = {"app": podinfo.NAME}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": selector},
                "template": podinfo.pod_template(podinfo.OLD_VERSION),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
    ]


def asking_job(
    namespace: str, replicas: int, *, service: str = "web", name: str = "ask", node: str = ""
) -> Object:
    """A Job that prints, as a JSON list, which pods of a Service answered it; from that node, where one is named.

    It asks for up to 30 s until so many replicas have answered.
    """
    return python_job(name, ASKING.format(service=service, namespace=namespace, replicas=replicas), node=node)


def python_job(name: str, program: str, *, node: str = "") -> Object:
    """A Job that runs a program of Python's standard library once; on that node, where one is named."""
    container = {
        "name": "ask",
        "image": "localhost/mc:1.0.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/mc/bin/python", "-c", program],
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
    }
    pod: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": RESTRICTED_POD,
        "containers": [container],
    }
    if node:
        pod["nodeSelector"] = {HOSTNAME_LABEL: node}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": name}}, "spec": pod}},
    }
