"""The operator's chart as rendered: both ways to install it, what they grant, and the admission policies."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from conductor.api.spec import ReleaseSpec, SecretKey
from conductor.api.urls import DEFAULT_URLS, FORBIDDEN, Place, UrlPatterns
from conductor.runtime.main import parse_options
from harness.grants import Grant, granted
from harness.kube import Object
from harness.operator_install import CHART, HELM_RELEASE, NAMESPACE, HelmError, helm

TWO = "namespaces={prod,staging}"
POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def rendered(*settings: str, arguments: tuple[str, ...] = ()) -> list[Object]:
    return [item for item in yaml.safe_load_all(rendered_text(settings, arguments)) if item]


@functools.cache
def rendered_text(settings: tuple[str, ...], arguments: tuple[str, ...]) -> str:
    given = [part for setting in settings for part in ("--set", setting)]
    return helm("template", HELM_RELEASE, str(CHART), "--namespace", NAMESPACE, *given, *arguments)


def kinds(objects: list[Object]) -> set[str]:
    return {item["kind"] for item in objects}


def grants(objects: list[Object]) -> frozenset[Grant]:
    found = granted(objects, HELM_RELEASE, NAMESPACE)
    assert found
    return found


def policy(objects: list[Object], ending: str) -> Object:
    (found,) = (
        item
        for item in objects
        if item["kind"] == "ValidatingAdmissionPolicy" and item["metadata"]["name"].endswith(ending)
    )
    return found


def regular_expressions() -> tuple[str, str]:
    """What the policy forbids and what it allows, as it came out of the chart."""
    rules = [item["expression"] for item in policy(rendered(), "templates")["spec"]["validations"]]
    forbidden, allowed = (
        re.search(r"matches\(r'(.*)'\)", rule, re.DOTALL) for rule in rules if "matches" in rule
    )
    assert forbidden is not None
    assert allowed is not None
    return forbidden[1], allowed[1]


def test_cluster_wide_is_one_role_for_all_namespaces() -> None:
    found = grants(rendered())
    assert {grant.namespace for grant in found} == {"", NAMESPACE}
    own = {str(grant.right) for grant in found if grant.namespace == NAMESPACE}
    leading = {f"{verb} leases.coordination.k8s.io" for verb in ("get", "create", "update")}
    asking = {f"{verb} endpointslices.discovery.k8s.io" for verb in ("create", "patch")}
    assert own == leading | asking | {"get services"}


def test_namespaced_is_a_role_in_each_and_nothing_for_the_cluster() -> None:
    objects = rendered(TWO)
    assert not kinds(objects) & {"ClusterRole", "ClusterRoleBinding"}
    found = grants(objects)
    assert {grant.namespace for grant in found} == {"prod", "staging", NAMESPACE}
    everywhere = {grant.right for grant in grants(rendered("nodeProof=Off")) if not grant.namespace}
    for namespace in ("prod", "staging"):
        assert {grant.right for grant in found if grant.namespace == namespace} == everywhere


def test_nodes_may_be_listed_where_they_are_to_be_asked_and_nothing_else_is_done_with_them() -> None:
    def of_nodes(*settings: str) -> list[str]:
        return [grant.right.verb for grant in grants(rendered(*settings)) if grant.right.resource == "nodes"]

    assert of_nodes() == of_nodes(TWO, "nodeProof=On") == ["list"]
    assert of_nodes("nodeProof=Off") == of_nodes(TWO) == []
    exposed = [item for item in rendered() if item.get("spec", {}).get("type") == "NodePort"]
    assert len(exposed) == 1
    assert "selector" not in exposed[0]["spec"], "it leads nowhere but while an upgrade needs it"


def test_routes_may_be_read_and_written_where_that_is_wanted_and_are_never_made() -> None:
    def of_routes(*settings: str) -> set[tuple[str, str]]:
        found = grants(rendered(*settings))
        return {(g.namespace, g.right.verb) for g in found if g.right.resource == "httproutes"}

    wanted = "gatewayAPI.enabled=true"
    assert of_routes() == of_routes(TWO) == set()
    assert of_routes(wanted) == {("", "get"), ("", "patch")}
    assert of_routes(TWO, wanted) == {
        (name, verb) for name in ("prod", "staging") for verb in ("get", "patch")
    }


def test_namespaced_needs_no_object_of_the_whole_cluster_where_that_is_asked_for() -> None:
    objects = rendered(TWO, "crd.install=false", "admissionPolicy.enabled=false")
    assert all(item["metadata"].get("namespace") for item in objects), kinds(objects)


@pytest.mark.parametrize("settings", [(), (TWO,)])
def test_rights_that_would_be_worth_stealing_are_not_there(settings: tuple[str, ...]) -> None:
    for grant in grants(rendered(*settings)):
        assert "*" not in (grant.right.group, grant.right.resource, grant.right.verb)
        assert grant.right.verb not in {"escalate", "bind", "impersonate", "deletecollection"}
        assert grant.right.group not in {"rbac.authorization.k8s.io", "admissionregistration.k8s.io"}
        assert grant.right.resource not in {
            "secrets", "nodes/proxy", "namespaces", "serviceaccounts", "serviceaccounts/token", "pods/exec",
            "pods/log", "persistentvolumes", "customresourcedefinitions",
        }  # fmt: skip


def test_the_operator_s_pod_is_a_restricted_one() -> None:
    (deployment,) = (item for item in rendered() if item["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPath" not in volume and "secret" not in volume for volume in pod["volumes"])


def test_the_policies_are_there_unless_they_cannot_be_or_are_not_wanted() -> None:
    assert kinds(rendered()) >= POLICIES
    assert not kinds(rendered("admissionPolicy.enabled=false")) & POLICIES
    assert not kinds(rendered(arguments=("--kube-version", "1.29.0"))) & POLICIES


def test_the_policies_fail_closed_and_deny() -> None:
    for item in rendered():
        if item["kind"] == "ValidatingAdmissionPolicy":
            assert item["spec"]["failurePolicy"] == "Fail"
        if item["kind"] == "ValidatingAdmissionPolicyBinding":
            assert item["spec"]["validationActions"] == ["Deny"]
            assert "matchResources" not in item["spec"]


def test_a_namespaced_installation_judges_its_own_namespaces_only() -> None:
    bindings = [item for item in rendered(TWO) if item["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert len(bindings) == 2
    for binding in bindings:
        (chosen,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert chosen == {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": ["prod", "staging"],
        }


def test_policy_and_operator_forbid_the_same_urls() -> None:
    assert regular_expressions()[0] == FORBIDDEN.pattern


@pytest.mark.parametrize(
    "url",
    ["http://prometheus.monitoring.svc:9090", "https://a-prometheus-b.c.svc.cluster.local", "http://billing.prod.svc",
     "http://prometheus.a.b.svc", "http://prometheus.monitoring.svc:9090/", "http://prometheus.monitoring.svc/a",
     "http://xprometheus.monitoring.svc.evil", "http://prometheus.monitoringxsvc:1", "http://prometheus.m.svc:123456"],
)  # fmt: skip
def test_policy_and_operator_allow_the_same_urls(url: str) -> None:
    assert bool(re.search(regular_expressions()[1], url)) == (DEFAULT_URLS.refusal(url) is None)


def test_the_operator_is_told_what_the_policy_was() -> None:
    objects = rendered(
        "prometheus.allowedUrls={http://metrics.ops.svc:8080,https://*.example.com/prometheus}"
    )
    (deployment,) = (item for item in objects if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (option,) = (text for text in container["args"] if text.startswith("--prometheus-urls="))
    patterns = UrlPatterns(option.partition("=")[2].split(","))
    assert patterns.refusal("https://metrics.example.com/prometheus") is None
    assert patterns.refusal("http://prometheus.monitoring.svc:9090") is not None


def test_the_operator_is_told_where_gateways_are_reached_and_gets_no_right_for_it() -> None:
    where = "gatewayAPI.addresses.infra/edge=http://edge.infra.svc:8000"
    objects = rendered("gatewayAPI.enabled=true", where, "gatewayAPI.addresses.b/a=http://203.0.113.7")
    (deployment,) = (item for item in objects if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (option,) = (text for text in container["args"] if text.startswith("--gateways="))
    assert parse_options([option]).gateways == {
        "infra/edge": Place("edge.infra.svc", 8000),
        "b/a": Place("203.0.113.7", 80),
    }
    plain = rendered("gatewayAPI.enabled=true")
    assert [item.get("rules") for item in objects] == [item.get("rules") for item in plain]


def test_every_secret_that_a_spec_can_name_is_asked_for_by_the_policy() -> None:
    """A field that is added to the models and forgotten in the chart would be a way to a foreign Secret."""
    (variable,) = (
        item for item in policy(rendered(), "authors")["spec"]["variables"] if item["name"] == "namedSecrets"
    )
    named = list(secret_fields(ReleaseSpec))
    assert named == ["migrations.databaseSecretRef"]
    for field in named:
        assert ".?" + field.replace(".", ".?") + ".?name" in variable["expression"]


def secret_fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Every field that names a Secret, by its path in a spec."""
    for name, field in model.model_fields.items():
        here = f"{path}{field.alias or name}"
        for inner in models_of(field.annotation):
            if issubclass(inner, SecretKey):
                yield here
            else:
                yield from secret_fields(inner, f"{here}.")


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_of(argument)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("prometheus.allowedUrls={prometheus:9090}", "/prometheus/allowedUrls/0"),
        ("prometheus.allowedUrls={http://user@host}", "/prometheus/allowedUrls/0"),
        ("prometheus.allowedUrls={}", "/prometheus/allowedUrls"),
        ("gatewayAPI.addresses.infra/edge=https://edge.infra.svc", "/gatewayAPI/addresses"),
        ("gatewayAPI.addresses.edge=http://edge.infra.svc", "invalid propertyName 'edge'"),
        ("rbac.clusterReads=true", "clusterReads"),
        ("admissionPolicy.enabled=sometimes", "/admissionPolicy/enabled"),
        ("namespaces={Prod}", "/namespaces/0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(setting: str, named: str) -> None:
    with pytest.raises(HelmError) as caught:
        rendered(setting)
    assert named in str(caught.value)


def test_two_installations_never_meet_in_one_name() -> None:
    here, there = (
        {
            (item["kind"], item["metadata"]["name"])
            for item in yaml.safe_load_all(
                helm("template", "conductor", str(CHART), "--namespace", namespace)
            )
            if item and not item["metadata"].get("namespace") and item["kind"] != "CustomResourceDefinition"
        }
        for namespace in ("team-a", "a" * 60)
    )
    assert here
    assert not here & there
    assert all(len(name) <= 63 for _, name in here | there)
