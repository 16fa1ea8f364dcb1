"""What a user has before there is a release: a Deployment by hand, and the Service that its users go by."""

from datetime import timedelta
from typing import Any

from tests.unit.domain.plane import Json, api_component, spec, worker_component
from tests.unit.domain.story import NAMESPACE, Story, checkpoint

from conductor.api import names

DEPLOYMENT, WORKER = "legacy-api", "legacy-worker"
SELECTOR = {"app": "mc"}
LABELS = {"app": "mc", "team": "blue"}


def deployment(
    name: str = DEPLOYMENT, replicas: int = 2, image: str = "localhost/mc:0.9.0", **labels: str
) -> Json:
    """As its manifest stands in somebody's repository."""
    own = labels or LABELS
    container = {"name": "api", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}
    template = {"metadata": {"labels": own}, "spec": {"containers": [container]}}
    return {
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": own}, "template": template},
    }


def service(**more: Any) -> Json:
    """The Service in front of it; its single port has no name."""
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {
        "kind": "Service",
        "metadata": {"name": "mc-api"},
        "spec": {"selector": dict(SELECTOR), "ports": ports} | more,
    }


def adopting(version: str = "1.0.0", **more: Any) -> Json:
    """A release that takes it over as 0.9.0 and asks for its own first version."""
    component = api_component(version, replicas=2)
    component["template"]["metadata"] = {"labels": dict(LABELS)}
    wanted = {"version": "0.9.0", "deployments": [{"component": "api", "name": DEPLOYMENT}]}
    return spec(version, components=[component], adopt=wanted) | more


def with_worker(version: str = "1.0.0", **more: Any) -> Json:
    """The same with a worker beside it."""
    wanted = adopting(version)
    deployments = [*wanted["adopt"]["deployments"], {"component": "worker", "name": WORKER}]
    components = [*wanted["components"], worker_component(version)]
    return (
        wanted | {"components": components, "adopt": {"version": "0.9.0", "deployments": deployments}} | more
    )


def running(wanted: Json, *objects: Json, **metadata: Any) -> Story:
    """Users are on what somebody made; the release has just been written and nobody has looked at it yet."""
    story = Story(wanted, **metadata)
    for item in objects or (deployment(), service()):
        story.kube.put(item["kind"], NAMESPACE, item)
    for _ in range(3):
        story.machinery.tick(story.now)
        story.now += timedelta(seconds=5)
    story.machinery.tick(story.now)
    return story.begin()


def replicas(story: Story, name: str = DEPLOYMENT) -> int:
    found = story.kube.get("Deployment", NAMESPACE, name)
    assert found is not None
    return int(found["spec"]["replicas"])


def apply_service(story: Story) -> None:
    """`kubectl apply` of the Service's own manifest: keys that it names are set, others stay."""
    story.note("the Service's own manifest is applied again")
    wanted = service()["spec"]
    story.kube.edit("Service", NAMESPACE, "mc-api", {"spec": {"selector": wanted["selector"]}})


def force_service(story: Story) -> None:
    """A forced apply: the selector is what the manifest says, and nothing else."""
    story.note("the Service's own manifest is forced upon it")
    owned = [{"manager": "flux", "fieldsV1": {"f:spec": {"f:selector": {}}}}]
    found = story.kube.get("Service", NAMESPACE, "mc-api")
    assert found is not None
    gone: Json = dict.fromkeys(found["spec"]["selector"])
    change = {"metadata": {"managedFields": owned}, "spec": {"selector": gone | SELECTOR}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)


def apply_deployment(story: Story, count: int = 2) -> None:
    """The Deployment's own manifest is applied: its size is that of the manifest again."""
    story.note(f"the manifest of Deployment {DEPLOYMENT} is applied again: {count} replicas")
    story.kube.edit("Deployment", NAMESPACE, DEPLOYMENT, {"spec": {"replicas": count}})


def adopted() -> Story:
    """What runs was adopted, and nothing of another version has begun."""
    return checkpoint("adoption adopted", lambda: running(adopting()).settled())


def untouched(story: Story, *names_: str) -> bool:
    """Whether nothing of ours stands on these Deployments and on the Service."""
    found = [story.kube.get("Deployment", NAMESPACE, name) for name in names_ or (DEPLOYMENT,)]
    found.append(story.kube.get("Service", NAMESPACE, "mc-api"))
    texts = [f"{item['metadata'].get('labels')} {item['spec'].get('selector')}" for item in found if item]
    annotated = [item for item in found if item and item["metadata"].get("annotations")]
    return not annotated and not any(names.GROUP in text or "pod-template-hash" in text for text in texts)
