"""What the stories begin from: small control planes, upgrades that have come to a phase, and what befalls them."""

from collections.abc import Callable

from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import Json, api_component, migrations, spec, traffic, worker_component
from tests.unit.domain.story import NAMESPACE, Health, Story, checkpoint, installed
from tests.unit.domain.surroundings import NODE

from conductor.api import names
from conductor.api.status import Phase
from conductor.observe.room import RoomReader

#: One story, or several side by side under headings of their own.
Told = Story | list[tuple[str, Story]]
Tale = Callable[[], Told]

FAILED: Json = {
    "state": "failed",
    "message": "lock timeout on executions",
    "mend": "end the long query",
    "exitCode": 1,
}
RAMP = [{"weight": 50, "hold": "5s"}]


def small(version: str, **more: object) -> Json:
    """One component of two pods."""
    return spec(version, **{"components": [api_component(version, replicas=2)], **more})


def ramped(version: str, **more: object) -> Json:
    """The same, with half of the users moved first."""
    return small(version, traffic=traffic(ramp=RAMP), **more)


def data(version: str, contract: str = "AfterSoak", **more: object) -> Json:
    """The same over a database."""
    return small(version, migrations=migrations(version, contract), **more)


def whole(version: str, **more: object) -> Json:
    """Users behind a ramp, a worker and a database: an upgrade goes through every phase."""
    components = [api_component(version, replicas=2), worker_component(version)]
    return spec(
        version,
        components=components,
        traffic=traffic(ramp=RAMP),
        migrations=migrations(version),
        soak="30s",
        **more,
    )


NOTHING: Json = {"state": "not-applicable", "message": "no version in this range brings any SQL"}

#: Every phase of an upgrade, in its order.
EVERY_PHASE = (
    Phase.PREFLIGHT,
    Phase.EXPANDING,
    Phase.BRINGING_UP,
    Phase.MIGRATING,
    Phase.VERIFYING,
    Phase.RAMPING,
    Phase.SWITCHING,
    Phase.SOAKING,
    Phase.CLOSING,
    Phase.CONTRACTING,
)


def under_way(phase: Phase) -> Story:
    """`whole` on its way from 1.0.0 to 1.1.0, in the middle of that phase; the log begins there."""

    def tell() -> Story:
        story = installed(whole("1.0.0"))
        story.apply(whole("1.1.0"))
        return _middle(story, phase)

    return checkpoint(f"rollouts {phase}", tell).begin()


def _middle(story: Story, phase: Phase) -> Story:
    story.until(phase)
    match phase:
        case Phase.EXPANDING | Phase.MIGRATING | Phase.CONTRACTING:
            story.turn()
            story.turn()
        case Phase.BRINGING_UP:
            story.until(lambda: "api/1.1.0" in story.deployments())
        case Phase.RAMPING:
            story.until(lambda: story.upgrade.step_at is not None)
        case Phase.SWITCHING:
            story.until(lambda: story.serving() == {"1.1.0"})
        case Phase.SOAKING:
            story.until(lambda: story.upgrade.served == {"api": 2}).wait(2)
        case Phase.CLOSING:
            story.until(lambda: story.deployments()["api/1.0.0"] == 0).wait(1)
    return story


def health(story: Story, version: str, said: Health, words: str) -> None:
    """What Prometheus says from now on."""
    story.note(f"Prometheus: {words}")
    story.health[version] = said


def pods(story: Story, version: str, behaviour: Behaviour, words: str) -> None:
    """How the pods of a version behave from now on."""
    story.note(f"pods of {version}: {words}")
    story.machinery.behaviours[f"localhost/mc:{version}"] = behaviour


def well_again(story: Story, version: str) -> None:
    story.note(f"pods of {version} are well again")
    story.machinery.behaviours.pop(f"localhost/mc:{version}")


def scaled(story: Story, version: str, replicas: int) -> None:
    """Somebody or an autoscaler scales a version's Deployment."""
    story.note(f"an autoscaler scales api {version} to {replicas}")
    [name] = [
        item["metadata"]["name"]
        for item in story.kube.list("Deployment", NAMESPACE, f"{names.LABEL_COMPONENT}=api")
        if story.version(item["metadata"]["labels"][names.LABEL_REVISION]) == version
    ]
    story.kube.edit("Deployment", NAMESPACE, name, {"spec": {"replicas": replicas}})


def pending(contract: str = "Manual") -> Story:
    """1.1.0 serves at rest, and its contract step was left for later."""

    def tell() -> Story:
        story = installed(data("1.0.0"))
        story.apply(data("1.1.0", contract))
        return story.settled()

    return checkpoint(f"rollouts pending {contract}", tell).begin()


def approve(story: Story, upgrade: str, step: str) -> None:
    story.annotate(names.ANNOTATION_APPROVE, f"{upgrade}/{step}")


def shortened(story: Story) -> Story:
    """Let the upgrade under way end well; of that the log shows only the last line."""
    story.note("(… the upgrade goes well)")
    mark = len(story.log)
    story.settled()
    del story.log[mark:-1]
    return story


def last_id(story: Story) -> str:
    """The id of the last upgrade that ended."""
    last = story.status.last_upgrade
    assert last is not None
    return last.id


def with_nodes(story: Story, *others: Json) -> Story:
    """The one node, others beside it, and an operator that may read them."""
    for number, more in enumerate(others, start=2):
        metadata = {"name": f"node-{number}", "labels": more.get("labels", {})}
        node = {**NODE, "metadata": metadata, "spec": more.get("spec", {})}
        story.kube.put("Node", "", node)
    story.rooms = RoomReader(story.kube, clock_of(story))
    return story


def clock_of(story: Story) -> Callable[[], float]:
    def seconds() -> float:
        return story.now.timestamp()

    return seconds
