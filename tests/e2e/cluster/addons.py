"""What runs in every cluster of ours beside Kubernetes itself: CoreDNS and Prometheus, from manifests/."""

import json
from collections.abc import Mapping, Sequence

from cluster import goparts
from cluster.commands import run
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage
from cluster.paths import PACKAGE
from cluster.rendering import PAUSE_IMAGE
from cluster.staticimage import StaticImage, build_static

COREDNS_IMAGE = "localhost/coredns:dev"
PROMETHEUS_IMAGE = "localhost/prometheus:dev"
_MANIFESTS = PACKAGE / "manifests"
_DEPLOYMENTS = (("kube-system", "coredns"), ("monitoring", "prometheus"))


def _deployments(dns: bool) -> Sequence[tuple[str, str]]:
    return _DEPLOYMENTS if dns else _DEPLOYMENTS[1:]


def pause_image() -> StoredImage:
    files = {"pause": goparts.binary(goparts.PARTS["pause"])}
    return build_static(StaticImage(PAUSE_IMAGE, files, ["/pause"]))


def coredns_image() -> StoredImage:
    files = {"coredns": goparts.binary(goparts.PARTS["coredns"])}
    return build_static(StaticImage(COREDNS_IMAGE, files, ["/coredns"]))


def prometheus_image() -> StoredImage:
    files = {"bin/prometheus": goparts.binary(goparts.PARTS["prometheus"])}
    return build_static(StaticImage(PROMETHEUS_IMAGE, files, ["/bin/prometheus"]))


def system_images() -> list[StoredImage]:
    """What a node needs before its first pod can start."""
    return [pause_image(), coredns_image(), prometheus_image()]


def apply_addons(environment: Mapping[str, str], dns: bool = True) -> None:
    """Apply the manifests; a cluster that brings its own DNS gets Prometheus only."""
    names = ["coredns.yaml"] if dns else []
    argv = ["kubectl", "apply", "--server-side", "--force-conflicts"]
    for name in [*names, "prometheus.yaml"]:
        argv += ["-f", str(_MANIFESTS / name)]
    run(argv, env=environment, timeout=60)


def wait_for_addons(environment: Mapping[str, str], timeout_seconds: int, dns: bool = True) -> None:
    """Wait by watching: asking again and again would cost more than what is being started."""
    for namespace, name in _deployments(dns):
        argv = ["kubectl", "-n", namespace, "wait", "--for=condition=Available", f"deployment/{name}"]
        run([*argv, f"--timeout={timeout_seconds}s"], env=environment, timeout=timeout_seconds + 10)


def addons_ready(environment: Mapping[str, str], dns: bool = True) -> list[str]:
    """What is not available yet, one sentence each."""
    lacking = []
    for namespace, name in _deployments(dns):
        argv = ["kubectl", "-n", namespace, "get", "deployment", name, "-o", "json"]
        try:
            status = json.loads(run(argv, env=environment, timeout=20))["status"]
        except ClusterError as absent:
            lacking.append(f"deployment {namespace}/{name}: {absent}")
            continue
        if not status.get("availableReplicas"):
            lacking.append(f"deployment {namespace}/{name} has no available pod")
    return lacking
