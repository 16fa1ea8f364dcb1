"""The chart of mc: installs as it stands, names wrong values, and renders nothing that the operator switches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conductor.api.parse import parse_spec
from conductor.api.spec import Colour, Logins, ReleaseSpec
from harness.kube import Kube, Object
from harness.operator_install import HelmError, helm

CHART = Path(__file__).resolve().parents[2] / "infra" / "helm" / "mc"
BLUE_GREEN = CHART / "values.bluegreen.yaml"


def rendered(namespace: str, *arguments: str) -> list[Object]:
    text = helm(
        "template", "mc", str(CHART), "--namespace", namespace, "--values", str(BLUE_GREEN), *arguments
    )
    return [obj for obj in yaml.safe_load_all(text) if obj]


def release_of(objects: list[Object]) -> Object:
    (found,) = (obj for obj in objects if obj["kind"] == "ControlPlaneRelease")
    return found


def spec_of(*arguments: str) -> ReleaseSpec:
    spec = parse_spec(release_of(rendered("prod", *arguments))["spec"])
    assert isinstance(spec, ReleaseSpec), spec
    return spec


def test_the_values_are_word_for_word_those_of_the_design() -> None:
    assert yaml.safe_load(BLUE_GREEN.read_text()) == {
        "strategy": "BlueGreen",
        "traffic": {"current": "blue", "switchHealth": {"errorRate": 0.01, "p95LatencyMs": 900}},
        "preStopHook": {"enabled": True, "drainSeconds": 20},
    }


def test_the_operator_reads_what_the_chart_renders() -> None:
    spec = spec_of()
    assert (spec.version, spec.strategy, spec.traffic.current) == ("1.0.0", "BlueGreen", Colour.BLUE)
    assert (spec.traffic.switch_health.error_rate, spec.traffic.switch_health.p95_latency_ms) == (0.01, 900)
    assert (spec.pre_stop_hook.enabled, spec.pre_stop_hook.drain_seconds) == (True, 20)
    assert spec.pre_stop_hook.http_get is not None
    assert spec.traffic.config_map == "mc-traffic"
    assert spec.migrations is not None
    assert spec.migrations.image == "localhost/mc-migrations:1.0.0"
    assert spec.migrations.logins is None
    assert spec.migrations.replica_keys == ()


def test_values_reach_the_release() -> None:
    digest = "sha256:" + "a" * 64
    spec = spec_of(
        "--set", "name=plane,version=1.1.0,api.replicas=5,worker.handover=Overlap,preStopHook.drainSeconds=40",
        "--set", f"image.repository=registry.example.com/mc,image.digest={digest},migrations.enabled=false",
        "--set", "traffic.ramp[0].weight=10,traffic.ramp[0].hold=30s,soak=1h,api.nodeSelector.zone=a",
    )  # fmt: skip
    api, worker = spec.components
    pod = api.template["spec"]
    assert (spec.version, api.replicas, worker.handover) == ("1.1.0", 5, "Overlap")
    assert (api.services[0].name, spec.traffic.config_map) == ("plane-api", "plane-traffic")
    assert pod["containers"][0]["image"] == f"registry.example.com/mc@{digest}"
    assert pod["terminationGracePeriodSeconds"] > 40
    assert pod["nodeSelector"] == {"zone": "a"}
    assert spec.traffic.ramp[0].weight == 10
    assert spec.migrations is None


def test_each_colour_logs_in_with_a_role_of_its_own_where_it_has_one() -> None:
    spec = spec_of("--set", "database.logins.enabled=true,database.logins.green.role=someone")
    assert spec.migrations is not None
    assert spec.migrations.logins == Logins(blue="mc_blue", green="someone")
    for component in spec.components:
        found = {item["name"]: item["valueFrom"] for item in component.template["spec"]["containers"][0]["env"]
                 if item["name"].startswith("DATABASE_URL")}  # fmt: skip
        assert found == {
            f"DATABASE_URL_{colour.upper()}": {
                "secretKeyRef": {"name": "mc-database", "key": f"url-{colour}"}
            }
            for colour in ("blue", "green")
        }


def test_standbys_are_named_by_keys_of_the_same_secret() -> None:
    spec = spec_of("--set-json", 'database.replicaKeys=["replica", "replica-far"]')
    assert spec.migrations is not None
    assert spec.migrations.replica_keys == ("replica", "replica-far")
    assert spec.migrations.database_secret_ref.name == "mc-database"


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_renders_nothing_that_the_operator_switches(version: str) -> None:
    objects = rendered("prod", "--set", f"version={version}")
    assert {obj["kind"] for obj in objects} == {"ConfigMap", "ControlPlaneRelease"}
    (traffic,) = (obj for obj in objects if obj["kind"] == "ConfigMap")
    assert traffic["metadata"]["name"] == "mc-traffic"
    assert traffic.keys() == {"apiVersion", "kind", "metadata"}


def test_a_new_version_changes_of_the_pods_nothing_but_the_image() -> None:
    """A label with the chart's or the application's version would start upgrades that nobody asked for."""
    old, new = (release_of(rendered("prod", "--set", f"version={version}")) for version in ("1.0.0", "1.1.0"))
    for component in new["spec"]["components"]:
        (container,) = component["template"]["spec"]["containers"]
        assert container["image"] == "localhost/mc:1.1.0"
        container["image"] = "localhost/mc:1.0.0"
    assert new["spec"]["components"] == old["spec"]["components"]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("version=1.0", "/version"),
        ("strategy=Canary", "/strategy"),
        ("traffic.current=red", "/traffic/current"),
        ("traffic.switchHealth.errorRate=1.5", "/traffic/switchHealth/errorRate"),
        ("traffic.selector=green", "selector"),
        ("preStopHook.drainSeconds=0", "/preStopHook/drainSeconds"),
        ("api.replicas=none", "/api/replicas"),
        ("image.digest=latest", "/image/digest"),
        ("database.replicaKeys=replica", "/database/replicaKeys"),
        ("database.replicaKeys={a,a}", "/database/replicaKeys"),
        ("metrics.prometheus.url=prometheus:9090", "/metrics/prometheus/url"),
        ("soak=soon", "/soak"),
    ],
)
def test_a_wrong_value_is_refused_by_name(setting: str, named: str) -> None:
    with pytest.raises(HelmError) as caught:
        rendered("prod", "--set", setting)
    assert named in str(caught.value)


def test_the_api_server_accepts_all_of_it(kube: Kube, test_namespace: str, operator: None) -> None:
    """Strictly validated, in a namespace that admits restricted pods only."""
    objects = rendered(test_namespace)
    for obj in objects:
        kube.apply(obj, dry_run=True)
    for number, template in enumerate(pod_templates(objects)):
        metadata = {**template["metadata"], "name": f"pod-{number}", "namespace": test_namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        kube.apply(pod, dry_run=True)


def pod_templates(objects: list[Object]) -> Iterator[dict[str, Any]]:
    for component in release_of(objects)["spec"]["components"]:
        yield component["template"]
