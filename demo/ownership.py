"""What the demo brought into a cluster that is not its own: marked there, so that only this is removed again."""

from __future__ import annotations

from cluster.paths import PACKAGE
from harness import operator_install
from harness.kube import Kube
from harness.namespaces import delete_namespace

MARK = "maestro-conductor.io/demo"
MONITORING = "monitoring"
PROMETHEUS = PACKAGE / "manifests" / "prometheus.yaml"
CRD = "controlplanereleases.maestro-conductor.io"
SHARED = (MONITORING, operator_install.NAMESPACE)
DELETE_SECONDS = 120.0


def namespaces(kube: Kube) -> set[str]:
    return {str(item["metadata"]["name"]) for item in kube.objects("Namespace")}


def mark_new(kube: Kube, before: set[str]) -> None:
    """Mark the namespaces of Prometheus and of the operator where they were not there before."""
    for name in SHARED:
        if name not in before and name in namespaces(kube):
            kube.patch("Namespace", name, "", {"metadata": {"labels": {MARK: "true"}}})


def is_ours(kube: Kube, name: str) -> bool:
    found = kube.get("Namespace", name)
    return found is not None and found["metadata"].get("labels", {}).get(MARK) == "true"


def other_releases(kube: Kube) -> list[str]:
    """Releases that somebody else has in this cluster, whose operator must stay."""
    if kube.get("CustomResourceDefinition", CRD) is None:
        return []
    releases = kube.objects("ControlPlaneRelease")
    return [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in releases]


def remove_operator(kube: Kube) -> None:
    if operator_install.is_installed(kube):
        operator_install.uninstall(kube)
    delete_namespace(kube, operator_install.NAMESPACE)
    kube.delete("CustomResourceDefinition", CRD)


def remove_prometheus(kube: Kube) -> None:
    kube.kubectl("delete", "--ignore-not-found", "--wait", "-f", str(PROMETHEUS), timeout=DELETE_SECONDS)
