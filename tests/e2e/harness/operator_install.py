"""The operator in the cluster: installed by its chart as a user would, scaled away, brought back, uninstalled."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.audit import uninstalling
from harness.kube import Kube, Object
from harness.waiting import wait_available, wait_for_objects

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "charts" / "conductor"
NAMESPACE = "conductor-system"
HELM_RELEASE = "conductor"
HELM_SECONDS = 120
SELECTOR = f"app.kubernetes.io/name=conductor,app.kubernetes.io/instance={HELM_RELEASE}"


class HelmError(Exception):
    """helm ended with an error; the text holds the command and what it said."""


def helm(*arguments: str, timeout: float = HELM_SECONDS + 30) -> str:
    """Run helm and answer what it printed. Raises HelmError."""
    program = shutil.which("helm")
    if program is None:
        raise HelmError("helm is not on PATH: run this through `scripts/cluster.sh exec`")
    done = subprocess.run((program, *arguments), capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise HelmError(f"helm {' '.join(arguments)} (exit {done.returncode}): {done.stderr.strip()}")
    return done.stdout


def install(kube: Kube, *, values: Sequence[str] = (), chart: Path = CHART) -> None:
    """Install the operator and wait until it is available. `values`: like `logLevel=debug`.

    One that runs already is started anew: its image may be another one under the same tag.
    """
    started_anew = f"podAnnotations.installed=run-{secrets.token_hex(4)}"
    settings = [part for value in (started_anew, *values) for part in ("--set", value)]
    helm(
        "upgrade", "--install", HELM_RELEASE, str(chart), "--namespace", NAMESPACE, "--create-namespace",
        # A CRD that somebody applied with kubectl is the chart's again.
        *settings, "--force-conflicts", "--wait", "--timeout", f"{HELM_SECONDS}s",
    )  # fmt: skip
    wait_available(kube, deployment(kube), NAMESPACE, deadline_seconds=HELM_SECONDS)


def uninstall(kube: Kube) -> None:
    """Uninstall the chart and wait until the operator's pods are gone. The CRD and all releases stay."""
    with uninstalling():
        helm("uninstall", HELM_RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", f"{HELM_SECONDS}s")
        _wait_no_pods(kube)


def is_installed(kube: Kube) -> bool:
    return bool(kube.objects("Deployment", NAMESPACE, labels=SELECTOR))


def deployment(kube: Kube) -> str:
    """The name of the operator's Deployment."""
    found = kube.objects("Deployment", NAMESPACE, labels=SELECTOR)
    if len(found) != 1:
        names = [item["metadata"]["name"] for item in found]
        raise HelmError(f"Deployments labelled {SELECTOR} in {NAMESPACE}: {names}; exactly one was expected")
    return str(found[0]["metadata"]["name"])


def scale(kube: Kube, replicas: int) -> None:
    """Take the operator away (0) or bring it back, and wait until it is so."""
    name = deployment(kube)
    kube.scale("Deployment", name, NAMESPACE, replicas)
    if replicas == 0:
        _wait_no_pods(kube)
    else:
        wait_available(kube, name, NAMESPACE, deadline_seconds=HELM_SECONDS)


def pods(kube: Kube) -> list[Object]:
    return kube.objects("Pod", NAMESPACE, labels=SELECTOR)


def logs(kube: Kube, *, tail: int = 200) -> str:
    """The last lines of every operator pod."""
    return "\n".join(
        f"--- {pod['metadata']['name']}\n{kube.log(pod['metadata']['name'], NAMESPACE, tail=tail)}"
        for pod in pods(kube)
        if pod.get("status", {}).get("phase") == "Running"
    )


def _wait_no_pods(kube: Kube) -> None:
    wait_for_objects(
        kube, "Pod", NAMESPACE, lambda items: not items, labels=SELECTOR,
        what="no operator pod left", deadline_seconds=HELM_SECONDS,
    )  # fmt: skip
