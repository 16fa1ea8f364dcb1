"""Who may create a release gains nothing by it: one author for each right that is lacking, one spec for each way out.

Everything is asked by dry-run and under the author's own name; nothing of it is ever run.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import podinfo
from harness.kube import ApiError, Kube, KubectlError, Object
from harness.namespaces import namespace
from harness.podinfo import OLD_VERSION, changed
from harness.releases import API_VERSION, KIND
from harness.waiting import poll

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
RESOURCE = "controlplanereleases.maestro-conductor.io"
SECRET, ACCOUNT, CONFIG_MAP = "mc-database", "mc-api", "podinfo-traffic"  # pragma: allowlist secret
PLAIN = changed(
    podinfo.release_spec(OLD_VERSION),
    traffic__configMap=CONFIG_MAP,
    paused=True,
    components__0__autoscaling={"maxReplicas": 5, "targetCPUUtilizationPercentage": 80},
    components__0__disruptionBudget={"maxUnavailable": 1},
    migrations={"image": "localhost/none:1", "databaseSecretRef": {"name": SECRET, "key": "url"}},
)

pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Author:
    """A service account that writes releases, with exactly the rules that it was given."""

    kube: Kube
    namespace: str
    name: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def refusal(self, spec: Object) -> str | None:
        """What is said against a release of this spec; None where it would be taken."""
        item = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "tried"}, "spec": spec}
        return self._asked("create", "-f", "-", stdin=json.dumps(item))

    def refusal_of_patch(self, name: str, patch: Object) -> str | None:
        return self._asked("patch", RESOURCE, name, "--type=merge", "-p", json.dumps(patch))

    def _asked(self, *arguments: str, stdin: str | None = None) -> str | None:
        def answer() -> tuple[str | None] | None:
            try:
                self.kube.kubectl(
                    "--as",
                    self.user,
                    "--namespace",
                    self.namespace,
                    *arguments,
                    "--dry-run=server",
                    stdin=stdin,
                )
            except KubectlError as error:
                # Roles take a moment to be known; until then the author may not even write releases.
                unknown = re.search(r'cannot (create|get|patch) resource "controlplanereleases"', str(error))
                return None if unknown else (str(error),)
            return (None,)

        return poll(answer, what=f"{self.user} to be known as an author")[0]


@pytest.fixture(scope="module")
def place(kube: Kube, operator: None) -> Iterator[str]:
    """A namespace in which the policies are in force already."""
    with namespace(kube, "admission") as name:
        poll(
            lambda: refused(kube, name, changed(PLAIN, components__0__template__spec__hostNetwork=True)),
            what="the admission policies in force", deadline_seconds=30,
        )  # fmt: skip
        yield name


@pytest.fixture(scope="module")
def authors(kube: Kube, place: str) -> Callable[[list[Object]], Author]:
    """Makes an author with these rules."""

    def make(rules: list[Object]) -> Author:
        author = Author(kube, place, f"author-{secrets.token_hex(3)}")
        metadata = {"name": author.name, "namespace": place}
        rbac = "rbac.authorization.k8s.io"
        objects: list[Object] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": author.name},
                "subjects": [{"kind": "ServiceAccount", "name": author.name, "namespace": place}],
            },
        ]
        kube.apply_all(objects)
        return author

    return make


@pytest.fixture(scope="module")
def author(authors: Callable[[list[Object]], Author]) -> Author:
    """An author with the rules of the documentation, and no other."""
    return authors(documented_rules())


def documented_rules() -> list[Object]:
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    rules: list[Object] = yaml.safe_load(found[1])["rules"]
    return rules


def without(resource: str, verb: str) -> list[Object]:
    """The documented rules but for one verb on one resource."""
    left = []
    for rule in documented_rules():
        verbs = [given for given in rule["verbs"] if (rule["resources"], given) != ([resource], verb)]
        left += [{**rule, "verbs": verbs}] if verbs else []
    assert left != documented_rules()
    return left


def refused(kube: Kube, place: str, spec: Object) -> str | None:
    """What is said against a release that an administrator writes; None where it would be taken."""
    item = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "tried", "namespace": place},
        "spec": spec,
    }
    try:
        kube.apply(item, dry_run=True)
    except ApiError as error:
        return error.message
    return None


def pod(**fields: Any) -> Object:
    """A release whose pod has these fields as well."""
    return changed(PLAIN, **{f"components__0__template__spec__{key}": value for key, value in fields.items()})


def container(**fields: Any) -> Object:
    """A release whose container has these fields as well."""
    return changed(
        PLAIN,
        **{f"components__0__template__spec__containers__0__{key}": value for key, value in fields.items()},
    )


def variable(secret: str) -> Object:
    return {"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}


def test_an_author_with_the_documented_rules_is_let_in(author: Author) -> None:
    assert author.refusal(PLAIN) is None
    assert author.refusal(container(env=[variable(SECRET)])) is None
    assert author.refusal(pod(serviceAccountName=ACCOUNT)) is None
    assert author.refusal(pod(serviceAccountName="default")) is None


def test_the_nulls_that_charts_render_are_no_way_out_and_no_reason_to_refuse(author: Author) -> None:
    nulls = pod(volumes=None, initContainers=None, imagePullSecrets=None)
    assert author.refusal(nulls) is None
    said = author.refusal(changed(nulls, components__0__template__spec__serviceAccountName="stronger"))
    assert said is not None
    assert "impersonate ServiceAccount stronger" in said


@pytest.mark.parametrize(
    ("resource", "verb", "told"),
    [
        ("deployments", "create", "may not create deployments.apps"),
        ("jobs", "create", "may not create jobs.batch"),
        ("configmaps", "create", "may not create configmaps"),
        ("configmaps", "patch", f"spec.traffic.configMap: .* may not patch ConfigMap {CONFIG_MAP}"),
        ("services", "create", "may not create services"),
        ("services", "patch", "may not patch services"),
        ("horizontalpodautoscalers", "create", r"autoscaling: .* may not create horizontalpodautoscalers"),
        ("poddisruptionbudgets", "create", r"disruptionBudget: .* may not create poddisruptionbudgets"),
        ("secrets", "get", f"spec names Secret {SECRET}: .* may not get it"),
    ],
)
def test_an_author_gains_no_right_by_a_release(
    authors: Callable[[list[Object]], Author], resource: str, verb: str, told: str
) -> None:
    lacking = authors(without(resource, verb))
    said = lacking.refusal(PLAIN)
    assert said is not None
    assert re.search(told, said), said
    assert lacking.user in said


def test_no_route_is_moved_for_who_may_not_write_it(author: Author) -> None:
    def routed(*names: str) -> str | None:
        routes = [{"name": name} for name in names]
        return author.refusal(changed(PLAIN, traffic__provider="GatewayAPI", traffic__routes=routes))

    assert routed("mc") is None
    assert "may not patch HTTPRoute edge in namespace" in (routed("edge") or "")
    assert "may not patch all httproutes.gateway.networking.k8s.io" in (routed("mc", "edge") or "")


FOREIGN = "of-somebody-else"
SECRETS: dict[str, Object] = {
    "env": container(env=[variable(SECRET), variable(FOREIGN)]),
    "envFrom": container(envFrom=[{"secretRef": {"name": FOREIGN}}]),
    "initContainers": pod(initContainers=[{"name": "i", "image": "i", "env": [variable(FOREIGN)]}]),
    "imagePullSecrets": pod(imagePullSecrets=[{"name": FOREIGN}]),
    "volume": pod(volumes=[{"name": "v", "secret": {"secretName": FOREIGN}}]),
    "projected volume": pod(
        volumes=[{"name": "v", "projected": {"sources": [{"secret": {"name": FOREIGN}}]}}]
    ),
    "csi volume": pod(
        volumes=[{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": FOREIGN}}}]
    ),
    "azureFile volume": pod(volumes=[{"name": "v", "azureFile": {"secretName": FOREIGN, "shareName": "s"}}]),
    **{
        f"{kind} volume": pod(volumes=[{"name": "v", kind: {"secretRef": {"name": FOREIGN}}}])
        for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")
    },
    "migrations": changed(PLAIN, migrations__databaseSecretRef__name=FOREIGN),
}


@pytest.mark.parametrize("where", SECRETS)
def test_no_secret_comes_by_a_release(author: Author, where: str) -> None:
    said = author.refusal(SECRETS[where])
    assert said is not None
    assert f"spec names Secret {FOREIGN}: {author.user} may not get it" in said


@pytest.mark.parametrize("field", ["serviceAccountName", "serviceAccount"])
def test_no_service_account_comes_by_a_release(author: Author, field: str) -> None:
    said = author.refusal(pod(**{field: "stronger"}))
    assert said is not None
    assert f"{author.user} may not impersonate ServiceAccount stronger" in said


def test_more_names_than_can_be_asked_for_need_the_right_to_all(
    kube: Kube, place: str, authors: Callable[[list[Object]], Author]
) -> None:
    names = [f"s{number}" for number in range(12)]
    mine = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    each = authors([*documented_rules(), {**mine, "resourceNames": [*names, "s12"]}])
    eleven = container(env=[{**variable(name), "name": f"V_{name}"} for name in names[:11]])
    assert each.refusal(eleven) is None, "with the database's they are twelve"
    said = each.refusal(container(env=[{**variable(name), "name": f"V_{name}"} for name in (*names, "s12")]))
    assert said is not None
    assert "more than 12 Secrets" in said
    every = authors([*documented_rules(), mine])
    assert (
        every.refusal(container(env=[{**variable(name), "name": f"V_{name}"} for name in (*names, "s12")]))
        is None
    )


def test_the_largest_release_is_within_what_the_policies_may_cost(kube: Kube, place: str) -> None:
    env = [{**variable(f"s{number}"), "name": f"V{number}"} for number in range(30)]
    component = container(env=env)["components"][0]
    many = [
        {**component, "name": f"c{number}", "services": component["services"] if number == 0 else []}
        for number in range(16)
    ]
    for item in many:
        item["template"] = changed(
            item["template"],
            spec__containers=[
                {**item["template"]["spec"]["containers"][0], "name": f"x{n}"} for n in range(8)
            ],
        )
    assert refused(kube, place, changed(PLAIN, components=many)) is None


def of_the_node() -> dict[str, tuple[Object, str]]:
    security = {**PLAIN["components"][0]["template"]["spec"]["containers"][0]["securityContext"]}

    def secured(**fields: Any) -> Object:
        return container(securityContext={**security, **fields})

    return {
        "hostPath": (pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "volumes[]: hostPath"),
        "hostNetwork": (pod(hostNetwork=True), "hostNetwork"),
        "hostPID": (pod(hostPID=True), "hostPID"),
        "hostIPC": (pod(hostIPC=True), "hostIPC"),
        "privileged": (secured(privileged=True), "securityContext: privileged"),
        "privileged initContainer": (
            pod(initContainers=[{"name": "i", "image": "i", "securityContext": {"privileged": True}}]),
            "securityContext: privileged",
        ),
        "procMount": (secured(procMount="Unmasked"), "procMount"),
        "capability": (secured(capabilities={"add": ["SYS_ADMIN"]}), "capabilities.add"),
        "hostPort": (container(ports=[{"containerPort": 9898, "hostPort": 9898}]), "hostPort"),
        "probe elsewhere": (
            container(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}),
            "a probe or hook with a host",
        ),
        "hook elsewhere": (
            container(lifecycle={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}),
            "a probe or hook with a host",
        ),
    }


@pytest.mark.parametrize("what", of_the_node())
def test_a_release_asks_for_nothing_of_the_node(kube: Kube, place: str, what: str) -> None:
    spec, told = of_the_node()[what]
    said = refused(kube, place, spec)
    assert said is not None
    assert told in said


def test_where_privileged_pods_are_admitted_a_release_may_ask_for_them(kube: Kube, place: str) -> None:
    label = "pod-security.kubernetes.io/enforce"
    spec = pod(volumes=[{"name": "v", "hostPath": {"path": "/var/log"}}], hostNetwork=True)
    with namespace(kube, "open") as elsewhere:
        assert refused(kube, elsewhere, spec) is not None
        kube.patch("Namespace", elsewhere, "", {"metadata": {"labels": {label: "privileged"}}})
        poll(
            lambda: True if refused(kube, elsewhere, spec) is None else None,
            what="the namespace's new label to be known", last_seen=lambda: refused(kube, elsewhere, spec),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://billing.prod.svc:8080", "is not on the list"),
        ("http://prometheus.example.com", "is not on the list"),
        ("http://prometheus.monitoring.svc@billing.prod.svc", "is not on the list"),
        ("http://prometheus.monitoring.svc:9090/admin?x=", "is not on the list"),
        ("http://169.254.169.254/latest/meta-data", "never asked"),
        ("http://metadata.google.internal", "never asked"),
        ("https://kubernetes.default.svc", "never asked"),
        ("http://localhost:9090", "never asked"),
        ("http://127.0.0.1:9090", "never asked"),
        ("http://2130706433:9090", "never asked"),
    ],
)
def test_no_release_sends_the_operator_elsewhere(kube: Kube, place: str, url: str, told: str) -> None:
    said = refused(kube, place, changed(PLAIN, metrics__prometheus__url=url))
    assert said is not None
    assert f"spec.metrics.prometheus.url: {url}" in said
    assert told in said


@pytest.fixture(scope="module")
def standing(kube: Kube, place: str) -> str:
    """A release that an administrator wrote; it is paused, so that nothing of it runs."""
    item = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "standing", "namespace": place},
        "spec": PLAIN,
    }
    kube.apply(item)
    return "standing"


def test_a_new_spec_is_judged_by_who_writes_it(
    author: Author, authors: Callable[[list[Object]], Author], standing: str
) -> None:
    on_call = authors(documented_rules()[:1])
    said = on_call.refusal_of_patch(standing, {"spec": {"soak": "1m"}})
    assert said is not None
    assert "may not create deployments.apps" in said
    assert author.refusal_of_patch(standing, {"spec": {"soak": "1m"}}) is None


def test_what_is_no_new_spec_needs_no_rights_of_an_author(
    authors: Callable[[list[Object]], Author], standing: str
) -> None:
    on_call = authors(documented_rules()[:1])
    command = {"metadata": {"annotations": {"maestro-conductor.io/rollback": "u1"}}}
    assert on_call.refusal_of_patch(standing, command) is None
    finalizer = {"metadata": {"finalizers": ["maestro-conductor.io/delete"]}}
    assert on_call.refusal_of_patch(standing, finalizer) is None
