"""First installs and upgrades that go well, with everything that a person may ask for on the way."""

from tests.unit.domain.plane import (
    Json,
    api_component,
    gateway_component,
    migrations,
    spec,
    traffic,
    worker_component,
)
from tests.unit.domain.rollouts.planes import Tale, Told, approve, data, scaled, small, under_way
from tests.unit.domain.story import Story, installed

from conductor.api.reasons import Reason
from conductor.api.status import Phase

HEADING = "Going well"


def bootstrap() -> Told:
    """A first install: one colour is brought up and proven, then users get their Service; no other colour is needed."""
    return Story(small("1.0.0")).settled()


def bootstrap_with_migrations() -> Told:
    """A first install over an empty database: expand brings the schema to its version before any pod starts."""
    return Story(data("1.0.0")).settled()


def happy_upgrade() -> Told:
    """Two components with users, a worker, a database and a ramp: an upgrade through every phase."""

    def plane(version: str) -> dict[str, object]:
        components = [api_component(version, 2), gateway_component(version), worker_component(version)]
        ramp = traffic(ramp=[{"weight": 34, "hold": "5s"}, {"weight": 50, "hold": "5s"}])
        return spec(version, components=components, traffic=ramp, migrations=migrations(version))

    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    return story.settled()


def approved() -> Told:
    """An upgrade that waits for a person before the switch and again before the old colour goes."""
    story = installed(small("1.0.0"))
    story.apply(small("1.1.0", approval={"beforeSwitch": True, "beforeContract": True}))
    story.until(Reason.AWAITING_APPROVAL).long_after(minutes=30)
    approve(story, story.upgrade.id, "switch")
    story.until(Phase.SOAKING).until(Reason.AWAITING_APPROVAL).long_after(minutes=30)
    approve(story, story.upgrade.id, "contract")
    return story.settled()


def paused_and_resumed() -> Told:
    """A pause holds an upgrade where it is, and its deadline stands still; after the switch it holds the old colour."""
    phases = (
        Phase.EXPANDING,
        Phase.BRINGING_UP,
        Phase.MIGRATING,
        Phase.VERIFYING,
        Phase.RAMPING,
        Phase.SOAKING,
    )
    return [(f"in {phase}", _paused(phase)) for phase in (*phases, Phase.CLOSING)]


def _paused(phase: Phase) -> Story:
    story = under_way(phase)
    story.change(paused=True)
    story.until(Reason.PAUSED).long_after(minutes=90)
    story.change(paused=False)
    return story.until(lambda: story.status.phase is not phase)


def paused_where_it_cannot_stand_still() -> Told:
    """Between the switch and its proof, and once the contract step is committed, a pause holds nothing back."""
    return [(f"in {phase}", _not_held(phase)) for phase in (Phase.SWITCHING, Phase.CONTRACTING)]


def _not_held(phase: Phase) -> Story:
    story = under_way(phase)
    story.change(paused=True)
    return story.until(lambda: story.status.phase is not phase)


def shedding_where_the_new_colour_grew() -> Told:
    """The new colour was scaled to six pods: the old one follows, and still only one pod is shed in the first wave."""
    story = installed(small("1.0.0", soak="60s"))
    story.apply(small("1.1.0", soak="60s"))
    story.until(Phase.SOAKING).begin("an upgrade that goes well, until Soaking")
    scaled(story, "1.1.0", 6)
    return story.until(Reason.SOAKING).until(lambda: story.deployments()["api/1.0.0"] == 6).wait(3)


def autoscaled() -> Told:
    """Autoscaled to the most that it may have: the candidate is as large, and nothing shrinks while both stand."""

    def plane(version: str) -> Json:
        sizes = {"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 70}
        component = api_component(version, 2, autoscaling=sizes, disruptionBudget={"maxUnavailable": 1})
        return spec(version, components=[component])

    story = installed(plane("1.0.0"))
    story.machinery.demand["localhost/mc:1.0.0"] = 4
    story.wait(5).begin("its load has made 1.0.0 as large as it may be")
    story.apply(plane("1.1.0"))
    story.until(Phase.SOAKING)
    story.note("the load falls")
    story.machinery.demand |= {"localhost/mc:1.0.0": 2, "localhost/mc:1.1.0": 2}
    return story.settled().wait(2)


TALES: tuple[Tale, ...] = (
    bootstrap,
    bootstrap_with_migrations,
    happy_upgrade,
    approved,
    paused_and_resumed,
    paused_where_it_cannot_stand_still,
    shedding_where_the_new_colour_grew,
    autoscaled,
)
