"""Upgrades whose users come through a route of a Gateway: requests are moved by weight, one write a share."""

from tests.unit.domain.plane import Json, by_route, http_route
from tests.unit.domain.rollouts.planes import Tale, Told, approve, health, small
from tests.unit.domain.story import BAD, NAMESPACE, Story, checkpoint, installed
from tests.unit.effects.memory_api import managed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

HEADING = "Led by routes"
STEPS = [{"weight": 1, "hold": "5s"}, {"weight": 37, "hold": "5s"}]


def routed(version: str, **more: object) -> Json:
    """Two pods behind a route, and steps that two pods could not express."""
    return small(version, **{"traffic": by_route(ramp=STEPS), **more})


def behind_a_route(spec: Json | None = None) -> Story:
    """Version 1.0.0 at rest, behind a route as its owner wrote it."""
    story = installed(spec or routed("1.0.0"))
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc"))
    story.machinery.settle()
    return story


def route(story: Story, name: str = "mc") -> Object:
    """A route as it is stored."""
    found = story.kube.get("HTTPRoute", NAMESPACE, name)
    assert found is not None, f"route {name} is gone"
    return found


def backends(story: Story, name: str = "mc", rule: int = 0) -> dict[str, int]:
    """Weights of a rule's backends."""
    refs = route(story, name)["spec"]["rules"][rule]["backendRefs"]
    return {item["name"]: item["weight"] for item in refs}


def led(story: Story, name: str = "mc") -> dict[str, int]:
    """Percent of a route's users by version."""
    return {story.version(hash_): share for hash_, share in story.machinery.led(route(story, name)).items()}


def previewed(story: Story, **headers: str) -> dict[str, int]:
    """The same of those who send these headers, with _ for a dash."""
    found = story.machinery.led(route(story), **headers)
    return {story.version(hash_): share for hash_, share in found.items()}


def reapplied(story: Story, manager: str = "helm") -> None:
    """The route's owner writes it again as it was at first."""
    lead_by(story, "mc-api", manager=manager)


def lead_by(story: Story, *services: str, manager: str = "helm") -> None:
    """Somebody else gives all of the route to these Services."""
    story.note(f"{manager} gives all of HTTPRoute mc to {', '.join(services)}")
    rules = http_route("mc", *services)["spec"]["rules"]
    change = {"metadata": {"managedFields": [managed(manager)]}, "spec": {"rules": rules}}
    story.kube.edit("HTTPRoute", NAMESPACE, "mc", change)
    story.machinery.settle()


def upgrading(goal: Phase, weight: int = 0) -> Story:
    """An upgrade that has come to that phase, in a ramp to that weight."""

    def tell() -> Story:
        story = behind_a_route()
        story.apply(routed("1.1.0", soak="30s"))
        story.until(goal)
        if weight:
            story.until(lambda: led(story).get("1.1.0") == weight)
        return story

    return checkpoint(f"by route {goal} {weight}", tell)


def route_upgraded() -> Told:
    """An upgrade by route: 1 %, 37 %, all; then the route is as its owner wrote it, and leads to the new version."""
    story = behind_a_route()
    story.begin("1.0.0 is at rest behind HTTPRoute mc")
    story.apply(routed("1.1.0"))
    return story.settled()


def route_taken_back_in_the_ramp() -> Told:
    """The candidate turns bad at 37 %: one write of the route takes its users back."""
    story = upgrading(Phase.RAMPING, 37).begin("37 % of the requests go to 1.1.0")
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    return story.settled()


def route_taken_back_in_the_soak() -> Told:
    """The candidate turns bad in the soak: Services and route go back as one effect."""
    story = upgrading(Phase.SOAKING).begin("all users are on 1.1.0")
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    return story.settled()


def route_reverted_in_the_ramp() -> Told:
    """The route's owner applies it again and again in a ramp: weighed anew twice, then people have to settle it."""
    story = upgrading(Phase.RAMPING, 37).begin("37 % of the requests go to 1.1.0")
    for _ in range(3):
        reapplied(story)
        story.wait(3)
    story.long_after(minutes=10)
    story.annotate(names.ANNOTATION_RETRY, f"{story.upgrade.id}/traffic/2")
    return story.settled()


def route_reapplied_in_the_soak() -> Told:
    """Applied again in the soak, a route leads where its Service does: nothing moves, and nothing is to be settled."""
    story = upgrading(Phase.SOAKING).begin("all users are on 1.1.0")
    for _ in range(3):
        reapplied(story)
        story.wait(3)
    return story.settled()


def route_led_to_nobody() -> Told:
    """Somebody gives all of the route to a colour that is not there any more: it is put back, then people settle it."""
    story = upgrading(Phase.CLOSING).begin("all users are on 1.1.0, and 1.0.0 is about to go")
    for _ in range(3):
        lead_by(story, "mc-api-blue", manager="kubectl-edit")
        story.wait(1)
    return story.until(Reason.TRAFFIC_REVERTED)


def route_previewed() -> Told:
    """By a header people reach the candidate before anybody is switched to it; the switch ends that in one write."""
    story = behind_a_route()
    story.begin("1.0.0 is at rest behind HTTPRoute mc")
    traffic = by_route(preview={"header": {"name": "X-Preview", "value": "candidate"}})
    story.apply(routed("1.1.0", traffic=traffic, approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    reapplied(story)
    story.wait(3)
    approve(story, story.upgrade.id, "switch")
    return story.settled()


TALES: tuple[Tale, ...] = (
    route_upgraded,
    route_taken_back_in_the_ramp,
    route_taken_back_in_the_soak,
    route_reverted_in_the_ramp,
    route_reapplied_in_the_soak,
    route_led_to_nobody,
    route_previewed,
)
