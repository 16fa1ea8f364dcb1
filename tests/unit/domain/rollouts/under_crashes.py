"""Stories that are told again and again with the operator dying in them: each takes the fault that it dies by."""

from collections.abc import Callable

from tests.unit.domain.jobs import Stuck
from tests.unit.domain.legacy import adopting, running
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import Json, api_component, migrations, spec, worker_component
from tests.unit.domain.rollouts.by_route import behind_a_route, routed, upgrading
from tests.unit.domain.rollouts.planes import (
    FAILED,
    approve,
    data,
    health,
    last_id,
    pending,
    pods,
    small,
    under_way,
    with_nodes,
)
from tests.unit.domain.story import BAD, Story, checkpoint, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

Fault = Callable[[Moment, Write], None] | None
Replay = Callable[[Fault], Story]


def plane(version: str) -> Json:
    components = [api_component(version, replicas=2), worker_component(version)]
    return spec(version, components=components, migrations=migrations(version))


def upgrade(fault: Fault) -> Story:
    story = installed(plane("1.0.0"))
    story.kube.fault = fault
    story.apply(plane("1.1.0"))
    return story.settled()


def rollback(fault: Fault) -> Story:
    story = installed(plane("1.0.0"))
    story.kube.fault = fault
    story.apply(plane("1.1.0"))
    story.until(Phase.SOAKING)
    story.health["1.1.0"] = BAD
    return story.settled()


def approved_at_rest(fault: Fault) -> Story:
    """The contract step may run once, and never before the way back is closed."""
    story = pending()
    story.kube.fault = fault
    story.machinery.jobs["contract"] = [FAILED, {"state": "contracted"}]
    approve(story, last_id(story), "contract")
    story.until(Reason.CONTRACT_FAILED)
    story.annotate(names.ANNOTATION_RETRY, f"{last_id(story)}/contract/1")
    return story.settled()


def contract_first(fault: Fault) -> Story:
    story = pending("NextUpgrade")
    story.kube.fault = fault
    story.apply(data("1.2.0", "NextUpgrade"))
    return story.settled()


def hotfix(fault: Fault) -> Story:
    story = installed(small("1.0.0"))
    pods(story, "1.0.0", Behaviour(waiting="CrashLoopBackOff", restarts=9), "crash looping")
    story.wait(5)
    story.kube.fault = fault
    story.apply(small("1.0.1", hotfix="1.0.1"))
    return story.settled()


def never_connected(fault: Fault) -> Story:
    """The Job that never started is gone in the end, and no backout was run."""
    story = installed(data("1.0.0"))
    story.machinery.jobs["expand"] = [Stuck("ErrImagePull")]
    story.kube.fault = fault
    story.apply(data("1.1.0"))
    return story.settled()


def given_up(fault: Fault) -> Story:
    """A rollback to what cannot serve; the new version stays, as approved."""

    def tell() -> Story:
        story = under_way(Phase.SOAKING)
        pods(
            story,
            "1.0.0",
            Behaviour(waiting="ImagePullBackOff"),
            "those that are new cannot pull their image",
        )
        health(story.wait(5), "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
        return story.until(Phase.ROLLING_BACK)

    story = checkpoint("crashes given up", tell)
    story.kube.fault = fault
    story.until(lambda: story.condition("Stalled")[0] == "True")
    approve(story, story.upgrade.id, "stay")
    return story.settled()


def another_colour(fault: Fault) -> Story:
    """A kept revision comes again in the colour that it did not have."""

    def tell() -> Story:
        story = installed(small("1.0.0"))
        for version in ("1.1.0", "1.2.0"):
            story.apply(small(version))
            story.settled()
        return story

    story = checkpoint("crashes another colour", tell)
    [first] = [hash_ for hash_ in story.observe().revisions if story.version(hash_) == "1.0.0"]
    story.kube.fault = fault
    story.change(rollbackTo=first)
    return story.settled()


def adoption(fault: Fault) -> Story:
    """What runs is taken over and upgraded; the Service is told of no pod twice."""
    story = running(adopting())
    story.kube.fault = fault
    return story.settled()


def adoption_taken_back(fault: Fault) -> Story:
    """In the soak users go back to what was adopted, and it is handed back to its owner."""
    story = running(adopting(soak="30s"))
    story.kube.fault = fault
    story.until(Phase.SOAKING).wait(3)
    story.health["1.0.0"] = BAD
    story.settled()
    wanted = story.release["spec"]
    story.apply({key: value for key, value in wanted.items() if key != "adopt"})
    return story.settled()


def upgrade_by_route(fault: Fault) -> Story:
    """A route is weighed twice, switched and given back."""
    story = behind_a_route()
    story.kube.fault = fault
    story.apply(routed("1.1.0"))
    return story.settled()


def rollback_by_route(fault: Fault) -> Story:
    """In a ramp users go back by one write of their route."""
    story = upgrading(Phase.RAMPING, 37)
    story.kube.fault = fault
    story.health["1.1.0"] = BAD
    return story.settled()


def pulled_ahead(fault: Fault) -> Story:
    """One Job for the images of one component, and nothing of it in the end."""
    asked: Json = {"surge": {"prePull": {"image": "localhost/drain:dev"}}}
    story = with_nodes(installed(spec("1.0.0", **asked)), {})
    story.kube.fault = fault
    story.apply(spec("1.1.0", **asked))
    return story.settled()


REPLAYS: tuple[Replay, ...] = (
    upgrade,
    rollback,
    approved_at_rest,
    contract_first,
    hotfix,
    never_connected,
    given_up,
    another_colour,
    adoption,
    adoption_taken_back,
    upgrade_by_route,
    rollback_by_route,
    pulled_ahead,
)
