"""Bad input ends in a condition and an Event that name field, value and mend, while blue serves on.

One release with users on it lives through the whole module; each test asks it for something wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness import podinfo
from harness.kube import ApiError, Kube, Object
from harness.load_run import LoadRun
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import API_VERSION, KIND, Release
from harness.waiting import condition_of, poll, wait_for_objects

GROUP = "maestro-conductor.io"
CRD = f"controlplanereleases.{GROUP}"
OPTIONS = PodinfoOptions(replicas=2, window="10s", bring_up="90s", verify="60s")
#: Fewer verification requests than in production: how sure a verdict is, is not what is tested here.
GOOD = changed(podinfo.release_spec(OLD_VERSION, OPTIONS), traffic__switchHealth__missRate=0.05)
UPGRADE = changed(
    podinfo.release_spec(NEW_VERSION, OPTIONS),
    traffic__switchHealth__missRate=0.05,
    # No upgrade here gets through it.
    deadlines__verify="12s",
)
ENDS_SECONDS = 120.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


@dataclass(frozen=True)
class Blue:
    """The release whose version must go on serving, and its users."""

    release: Release
    users: LoadRun

    @property
    def kube(self) -> Kube:
        return self.release.kube

    @property
    def namespace(self) -> str:
        return self.release.namespace

    def deployments(self) -> dict[str, int]:
        """Name and generation of what runs."""
        found = self.kube.objects("Deployment", self.namespace)
        return {item["metadata"]["name"]: item["metadata"]["generation"] for item in found}


@pytest.fixture(scope="module")
def installation(kube: Kube, request: pytest.FixtureRequest) -> Iterator[Blue]:
    failed_before = request.session.testsfailed
    with namespace(kube, "bad", failed=lambda: request.session.testsfailed > failed_before) as name:
        release = Release(kube, name, podinfo.NAME)
        release.apply(GOOD)
        release.wait_settled(OLD_VERSION)
        plan = podinfo.load_plan(name, keep_alive_clients=5, one_shot_clients=5, rate=20)
        with LoadRun(kube, plan, name="bad-users") as users:
            yield Blue(release, users)
            summary = users.stop()
            assert not summary.faults()
            assert set(summary.versions) == {OLD_VERSION}


@pytest.fixture
def blue(installation: Blue) -> Iterator[Blue]:
    """Blue as it serves; afterwards the good spec is back and nothing of the bad one is left."""
    before = installation.deployments()
    yield installation
    installation.release.apply(GOOD)
    installation.release.wait_settled(OLD_VERSION)
    wait_for_objects(
        installation.kube, "Deployment", installation.namespace,
        lambda items: {item["metadata"]["name"] for item in items} == set(before),
        what="only blue's Deployment left", deadline_seconds=ENDS_SECONDS,
    )  # fmt: skip
    assert installation.deployments() == before, "blue's Deployment was written"
    users = installation.users.latest()
    assert users is not None
    assert users.failures == 0
    assert set(users.second_versions) == {OLD_VERSION}


@pytest.fixture
def crd_without_rules(kube: Kube) -> Iterator[None]:
    """The CRD as a cluster has it that was given ours without its rules: then only the operator is left to object."""
    rules_path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"
    crd = kube.need("CustomResourceDefinition", CRD)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rules = schema["properties"]["spec"]["x-kubernetes-validations"]
    kube.patch("CustomResourceDefinition", CRD, "", [{"op": "remove", "path": rules_path}], how="json")
    wait_admission(kube, accepts=True)
    yield
    restore = [{"op": "add", "path": rules_path, "value": rules}]
    kube.patch("CustomResourceDefinition", CRD, "", restore, how="json")
    wait_admission(kube, accepts=False)


def wait_admission(kube: Kube, *, accepts: bool) -> None:
    """The API server takes up a changed CRD a moment after the write."""
    metadata = {"name": "never-stored", "namespace": "default"}
    wrong = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": changed(GOOD, version="6.9"),
    }

    def answered() -> bool | None:
        try:
            kube.apply(wrong, dry_run=True)
        except ApiError as error:
            if error.status != 422:
                raise
            return None if accepts else True
        return True if accepts else None

    poll(answered, what=f"admission that {'accepts' if accepts else 'refuses'} a wrong version")


def assert_stalled(release: Release, *says: str) -> None:
    """The condition Stalled says all of this about the spec as it is now."""

    def stalled(item: Object) -> bool:
        found = condition_of(item, "Stalled")
        return (
            found is not None
            and found["status"] == "True"
            and found.get("observedGeneration") == item["metadata"]["generation"]
            and all(part in f"{found['reason']} {found['message']}" for part in says)
        )

    release.wait(stalled, what=f"Stalled that says {says}", deadline_seconds=ENDS_SECONDS)


def assert_event(release: Release, *says: str) -> None:
    release.wait_event(
        lambda event: all(part in f"{event['reason']} {event['message']}" for part in says),
        what=f"one that says {says}",
    )


def assert_told(release: Release, *says: str) -> None:
    assert_stalled(release, *says)
    assert_event(release, *says)
    assert release.status().get("upgrade") is None, "an upgrade is still under way"


BAD_SPECS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "version is no semver": (
        changed(GOOD, version="6.9"),
        ("spec.version", "6.9", "write MAJOR.MINOR.PATCH"),
    ),
    "weights fall": (
        changed(GOOD, traffic__ramp=[{"weight": 50, "hold": "30s"}, {"weight": 10, "hold": "30s"}]),
        ("spec.traffic.ramp", "50", "10", "each step must be greater"),
    ),
    "unknown field": (
        changed(GOOD, traffic__switchHealth__errorRat=0.05),
        ("spec.traffic.switchHealth.errorRat", "0.05", "did you mean errorRate?"),
    ),
}


@pytest.mark.usefixtures("crd_without_rules")
def test_specs_that_cannot_be_read(blue: Blue) -> None:
    """One after the other: each of them is named, and none for another."""
    for spec, says in BAD_SPECS.values():
        blue.release.apply(spec)
        assert_told(blue.release, "InvalidSpec", *says)


@pytest.mark.parametrize("what", ["version is no semver", "weights fall"])
def test_admission_refuses_what_one_object_can_show_wrong(blue: Blue, what: str) -> None:
    spec, says = BAD_SPECS[what]
    with pytest.raises(ApiError) as refused:
        blue.release.apply(spec)
    assert refused.value.status == 422
    assert says[0] in refused.value.message


def test_an_unknown_field_is_not_lost_at_admission(blue: Blue) -> None:
    """Pruning would hide a misspelt field from everyone; it must reach the operator."""
    spec, says = BAD_SPECS["unknown field"]
    blue.release.apply(spec)
    assert_told(blue.release, "InvalidSpec", *says)


def plain_service(name: str, selector: dict[str, str]) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": selector, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def test_a_service_that_somebody_else_made(blue: Blue) -> None:
    blue.kube.apply_all([plain_service("foreign", {"app": "other"})], namespace=blue.namespace)
    before = blue.kube.need("Service", "foreign", blue.namespace)
    wanted = changed(UPGRADE, components__0__services=[*UPGRADE["components"][0]["services"]])
    wanted["components"][0]["services"].append(
        {"name": "foreign", "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    )
    blue.release.apply(wanted)
    assert_told(blue.release, "ForeignService", "services[].name", "foreign", "choose another name")
    assert blue.kube.need("Service", "foreign", blue.namespace) == before
    blue.kube.delete("Service", "foreign", blue.namespace)


def test_a_foreign_service_that_would_select_green(blue: Blue) -> None:
    """Its clients would meet the new version before it is proven."""
    blue.kube.apply_all([plain_service("by-accident", {"app": podinfo.NAME})], namespace=blue.namespace)
    blue.release.apply(UPGRADE)
    assert_told(blue.release, "ForeignService", "by-accident", f"app={podinfo.NAME}")
    blue.kube.delete("Service", "by-accident", blue.namespace)


def test_two_releases_for_one_service(blue: Blue) -> None:
    rival = Release(blue.kube, blue.namespace, "rival")
    rival.apply(UPGRADE)
    assert_told(
        rival, "ForeignService", podinfo.NAME, f"belongs to release {podinfo.NAME}", "choose another name"
    )
    blue.kube.delete("ControlPlaneRelease", "rival", blue.namespace)


def test_an_image_that_cannot_be_pulled(blue: Blue) -> None:
    image = "localhost/podinfo:no-such-tag"
    template = "components__0__template__spec__containers__0__image"
    blue.release.apply(changed(UPGRADE, **{template: image}))
    assert_told(blue.release, "ImageUnavailable", "template.spec.containers[].image", image, "push the image")


def test_green_that_fits_no_node(blue: Blue) -> None:
    selector = "components__0__template__spec__nodeSelector"
    blue.release.apply(changed(UPGRADE, **{selector: {"example.com/no-such-node": "true"}}))
    assert_told(blue.release, "NoRoom", "spec.components[web]", "2 of 2 pods", "nodeSelector", "add nodes")
    # Where nodes are said to come on demand, only the scheduler can tell that none did.
    elsewhere = changed(UPGRADE, **{selector: {"example.com/no-such-node": "yet"}})
    blue.release.apply(changed(elsewhere, surge={"nodes": "OnDemand"}, deadlines__bringUp="15s"))
    assert_told(blue.release, "spec.deadlines.bringUp", "pods were not ready in time")


def test_green_that_the_quota_has_no_room_for(blue: Blue) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one-colour"},
        "spec": {"hard": {"pods": "3"}},
    }
    blue.kube.apply_all([quota], namespace=blue.namespace)
    wait_for_objects(
        blue.kube, "ResourceQuota", blue.namespace,
        lambda items: bool(items and (items[0].get("status") or {}).get("used")), what="the quota counted",
    )  # fmt: skip
    blue.release.apply(UPGRADE)
    says = (
        "NoRoom",
        "spec.components[web]",
        "2 pods",
        "ResourceQuota one-colour leaves 1 of 3",
        "raise the quota",
    )
    assert_told(blue.release, *says)
    assert blue.kube.delete("ResourceQuota", "one-colour", blue.namespace)


def test_a_prometheus_that_cannot_be_reached(blue: Blue) -> None:
    url = "http://prometheus.nowhere.svc:9090"
    blue.release.apply(changed(UPGRADE, metrics__prometheus__url=url))
    assert_told(blue.release, "VerificationDeadlineExceeded", "spec.metrics.prometheus.url", url)


def test_a_prometheus_that_knows_nothing_of_green(blue: Blue) -> None:
    wanted = changed(UPGRADE)
    wanted["components"][0]["template"]["metadata"]["annotations"]["prometheus.io/scrape"] = "false"
    blue.release.apply(wanted)
    assert_told(blue.release, "VerificationDeadlineExceeded", "spec.deadlines.verify", "scrape")


def test_an_expand_job_that_fails(blue: Blue) -> None:
    password = "never-to-be-shown"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "database"},
        "stringData": {"url": f"mysql://mc:{password}@database:3306/mc"},
    }
    blue.kube.apply_all([secret], namespace=blue.namespace)
    migrations = {
        "image": "localhost/mc-migrations:1.1.0",
        "databaseSecretRef": {"name": "database", "key": "url"},
    }
    blue.release.apply(changed(UPGRADE, migrations=migrations))
    says = ("spec.migrations", "DATABASE_URL", "'mysql'", "postgresql://")
    assert_event(blue.release, "ExpandFailed", *says)
    assert_stalled(blue.release, *says)
    assert password not in str(blue.release.read())
    assert password not in str(blue.release.events())


def test_an_expand_job_whose_pod_the_quota_refuses(blue: Blue) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-more-pods"},
        # One that looks at more than the template: preflight leaves these to the API server.
        "spec": {"hard": {"pods": "0"}, "scopes": ["BestEffort"]},
    }
    blue.kube.apply_all([quota], namespace=blue.namespace)
    migrations = {
        "image": "localhost/mc-migrations:1.1.0",
        "databaseSecretRef": {"name": "database", "key": "url"},
    }
    blue.release.apply(changed(UPGRADE, migrations=migrations))
    assert_event(blue.release, "JobPodNotCreated", "spec.migrations", "exceeded quota: no-more-pods")
    told = blue.release.status()
    assert told["reason"] == "JobPodNotCreated"

    blue.release.apply(GOOD)
    blue.release.wait_settled(OLD_VERSION)
    assert blue.kube.objects("Job", blue.namespace, labels=f"{GROUP}/upgrade={told['upgrade']['id']}") == []
    assert blue.kube.delete("ResourceQuota", "no-more-pods", blue.namespace)
