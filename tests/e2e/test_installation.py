"""The commands of docs/security.md: the operator for all namespaces, for one of them, and without its policies."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import operator_install, podinfo
from harness.kube import ApiError, Kube, KubectlError, Object
from harness.namespaces import namespace
from harness.operator_install import HELM_RELEASE, NAMESPACE
from harness.podinfo import OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.waiting import poll, wait_available

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
USER = f"system:serviceaccount:{NAMESPACE}:{HELM_RELEASE}"
POLICIES = "validatingadmissionpolicies,validatingadmissionpolicybindings"
OPTIONS = PodinfoOptions(replicas=1, window="10s")
BASH = shutil.which("bash") or "/bin/bash"

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


def documented(number: int, place: str) -> str:
    """One of the document's blocks of commands, for the images and the namespace that are here."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 3
    commands: str = blocks[number]
    for written, here in (
        ("registry.example.com/team/conductor", "localhost/conductor"),
        ("image.tag=0.1.0", "image.tag=dev"),
        ("namespaces={prod}", f"namespaces={{{place}}}"),
    ):
        assert written in commands or (written.startswith("namespaces") and number == 0)
        commands = commands.replace(written, here)
    return commands


def run(commands: str) -> None:
    done = subprocess.run(
        [BASH, "-euo", "pipefail", "-c", commands],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def ready(kube: Kube) -> None:
    wait_available(kube, operator_install.deployment(kube), NAMESPACE, deadline_seconds=60)


def may(kube: Kube, verb: str, resource: str, *where: str) -> bool:
    try:
        return kube.kubectl("auth", "can-i", verb, resource, *where, "--as", USER).strip() == "yes"
    except KubectlError:
        return False  # `no` is an exit code of its own


def installed_policies(kube: Kube) -> list[str]:
    selector = f"app.kubernetes.io/instance={HELM_RELEASE}"
    return kube.kubectl("get", POLICIES, "--selector", selector, "--output", "name").split()


@pytest.fixture(scope="module", autouse=True)
def operator_as_others_want_it(kube: Kube, operator: None) -> Iterator[None]:
    yield
    operator_install.install(kube)


@pytest.fixture(scope="module")
def place(kube: Kube) -> Iterator[str]:
    with namespace(kube, "scoped") as name:
        yield name


@pytest.fixture(scope="module")
def namespaced(kube: Kube, place: str) -> str:
    """The second way, after the first one was there: the CRD and its releases stay."""
    operator_install.uninstall(kube)
    run(documented(1, place))
    ready(kube)
    return place


def test_cluster_wide_as_documented(kube: Kube) -> None:
    operator_install.uninstall(kube)
    assert not operator_install.is_installed(kube)
    assert installed_policies(kube) == []
    # As on a cluster where it never was: the Lease is the operator's own and outlives its chart.
    kube.delete("Lease", "maestro-conductor", NAMESPACE)
    run(documented(0, ""))
    ready(kube)
    assert len(installed_policies(kube)) == 4
    assert may(kube, "patch", "services", "--all-namespaces")
    assert not may(kube, "get", "secrets", "--namespace", NAMESPACE)


def test_a_namespaced_operator_has_no_right_elsewhere(kube: Kube, namespaced: str) -> None:
    assert may(kube, "patch", "services", "--namespace", namespaced)
    for verb, resource in (
        ("list", "pods"),
        ("patch", "services"),
        ("create", "deployments"),
        ("get", "secrets"),
    ):
        assert not may(kube, verb, resource, "--namespace", "default"), f"{verb} {resource}"
        assert not may(kube, verb, resource, "--all-namespaces"), f"{verb} {resource}"
    assert not may(kube, "get", "secrets", "--namespace", namespaced)


def test_a_namespaced_operator_looks_after_its_namespace_and_no_other(kube: Kube, namespaced: str) -> None:
    spec = changed(podinfo.release_spec(OLD_VERSION, OPTIONS), traffic__switchHealth__missRate=0.05)
    with namespace(kube, "other") as other:
        elsewhere = Release(kube, other, podinfo.NAME)
        elsewhere.apply(spec)
        release = Release(kube, namespaced, podinfo.NAME)
        release.apply(spec)
        release.wait_settled(OLD_VERSION, deadline_seconds=90)
        assert "status" not in elsewhere.read()
        assert kube.objects("Deployment", other) == []
    assert "orbidden" not in operator_install.logs(kube), "it asked for something that it may not"


def test_without_the_policy_the_operator_itself_refuses_a_url(kube: Kube, namespaced: str) -> None:
    run(documented(2, namespaced))
    ready(kube)
    assert installed_policies(kube) == []
    release = Release(kube, namespaced, "astray")
    url = "http://billing.prod.svc:8080"
    spec = changed(podinfo.release_spec(OLD_VERSION, OPTIONS), metrics__prometheus__url=url)

    def let_in() -> Object | None:
        """API servers go on with a policy for a moment after it was deleted."""
        try:
            return release.apply(spec)
        except ApiError as error:
            if "ValidatingAdmissionPolicy" in str(error):
                return None
            raise

    poll(let_in, what="the API server to forget the policy", deadline_seconds=60)
    condition = release.wait_condition("Stalled", reason="InvalidSpec", deadline_seconds=60)
    assert condition["message"].startswith(
        f'spec.metrics.prometheus.url: "{url}" is not on this operator\'s list'
    )
    assert "prometheus.allowedUrls" in condition["message"]
    assert kube.objects("Deployment", namespaced, labels="maestro-conductor.io/release=astray") == []
