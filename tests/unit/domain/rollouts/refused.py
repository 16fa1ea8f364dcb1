"""Upgrades that fail before users meet them: nothing has moved, the candidate goes, the mend is named."""

from tests.unit.domain.jobs import Stuck
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import api_component
from tests.unit.domain.rollouts.planes import (
    FAILED,
    Tale,
    Told,
    approve,
    data,
    health,
    last_id,
    pods,
    ramped,
    small,
    well_again,
)
from tests.unit.domain.story import BAD, NAMESPACE, SILENT, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

HEADING = "Refused before users meet it"


def preflight_refused() -> Told:
    """Preflight refuses what cannot work before anything is made: a Service of somebody else, a ramp over two ports."""
    foreign = installed(small("1.0.0"))
    theirs: Object = {"metadata": {"name": "mc-admin"}, "spec": {"selector": {"app": "other"}, "ports": []}}
    foreign.kube.put("Service", NAMESPACE, theirs)
    component = api_component("1.1.0", replicas=2)
    component["services"].append({"name": "mc-admin", "ports": [{"name": "web", "port": 80}]})
    foreign.apply(small("1.1.0", components=[component]))

    ports = installed(ramped("1.0.0", components=[_on_port("1.0.0", 8080)]))
    ports.apply(ramped("1.1.0", components=[_on_port("1.1.0", 9090)]))
    return [
        ("a Service that somebody else made", foreign.settled()),
        ("a ramp from port 8080 to port 9090 through one Service", ports.settled()),
    ]


def _on_port(version: str, port: int) -> Object:
    component = api_component(version, replicas=2)
    component["services"][0]["ports"][0]["targetPort"] = port
    return component


def active_does_not_serve() -> Told:
    """An upgrade beside a version that does not serve is refused: there is nothing to compare with or to go back to."""
    story = installed(small("1.0.0"))
    pods(story, "1.0.0", Behaviour(waiting="CrashLoopBackOff", restarts=9), "crash looping")
    story.wait(5)
    story.apply(small("1.1.0"))
    story.settled()
    well_again(story, "1.0.0")
    story.wait(5)
    story.annotate(names.ANNOTATION_RETRY, last_id(story))
    return story.until(Phase.BRINGING_UP)


def hotfix() -> Told:
    """spec.hotfix names the version that may go in beside one that does not serve; its pods go without a surge."""
    story = installed(small("1.0.0"))
    pods(story, "1.0.0", Behaviour(waiting="CrashLoopBackOff", restarts=9), "crash looping")
    story.wait(5)
    story.apply(small("1.0.1"))
    story.settled()
    story.change(hotfix="1.0.1")
    return story.settled()


def expand_fails() -> Told:
    """The expand step fails: it is taken back, and nothing of the new version is ever created."""
    story = installed(data("1.0.0"))
    story.machinery.jobs["expand"] = [FAILED]
    story.apply(data("1.1.0"))
    return story.settled()


def expand_never_connects() -> Told:
    """An expand step that never had a connection leaves nothing to take back: no backout that would fail as well."""
    image = installed(data("1.0.0"))
    image.machinery.jobs |= {"expand": [Stuck("ErrImagePull")], "backout": [Stuck("ErrImagePull")]}
    image.apply(data("1.1.0"))

    database = installed(data("1.0.0"))
    unreachable = {
        "state": "failed",
        "message": "no connection to db:5432/mc",
        "mend": "check that the database runs",
        "untouched": True,
        "exitCode": 2,
    }
    database.machinery.jobs |= {"expand": [unreachable], "backout": [unreachable]}
    database.apply(data("1.1.0"))
    return [
        ("the image of the Job cannot be pulled", image.settled()),
        ("the database cannot be reached", database.settled()),
    ]


def expand_deadline() -> Told:
    """The expand step does not end in time: it is given up and taken back, which ends its connection."""
    story = installed(data("1.0.0"))
    story.machinery.jobs["expand"] = [None]
    story.apply(data("1.1.0", deadlines={"migrate": "10m"}))
    return story.until(Reason.RUNNING_JOB).long_after(minutes=11).settled()


def backout_fails() -> Told:
    """A backout that fails is for a person: mend and retry it, or let the expanded schema stay."""
    told: list[tuple[str, Story]] = []
    for heading in ("mended and tried again", "the expanded schema is left as it is"):
        story = installed(data("1.0.0"))
        story.machinery.jobs |= {"expand": [FAILED], "backout": [FAILED, {"state": "backed-out"}]}
        story.apply(data("1.1.0"))
        story.until(Reason.BACKOUT_FAILED).long_after(minutes=30)
        if told:
            approve(story, story.upgrade.id, "keep-expanded")
        else:
            story.annotate(names.ANNOTATION_RETRY, f"{story.upgrade.id}/backout/1")
        told.append((heading, story.settled()))
    return told


def green_not_ready() -> Told:
    """The candidate's pods do not become ready in time."""
    story = installed(small("1.0.0"))
    pods(story, "1.1.0", Behaviour(ready=False), "never ready")
    story.apply(small("1.1.0", deadlines={"bringUp": "5m"}))
    return story.until(Reason.WAITING_FOR_PODS).long_after(minutes=5).settled()


def image_cannot_be_pulled() -> Told:
    """The candidate's image cannot be pulled: half a minute is enough to know."""
    story = installed(small("1.0.0"))
    pods(story, "1.1.0", Behaviour(waiting="ImagePullBackOff"), "their image cannot be pulled")
    story.apply(small("1.1.0"))
    return story.settled()


def crash_loop() -> Told:
    """The candidate's pods end again and again, at once or while they are verified."""
    looping = Behaviour(waiting="CrashLoopBackOff", restarts=3)
    at_once = installed(small("1.0.0"))
    pods(at_once, "1.1.0", looping, "crash looping")
    at_once.apply(small("1.1.0"))

    verified = installed(small("1.0.0"))
    verified.health["1.1.0"] = SILENT
    verified.apply(small("1.1.0"))
    verified.until(Phase.VERIFYING).begin("an upgrade that goes well, until Verifying").wait(3)
    pods(verified, "1.1.0", looping, "crash looping")
    return [("in BringingUp", at_once.settled()), ("in Verifying", verified.settled())]


def migrate_fails_then_resumes() -> Told:
    """The migrate step fails once: a new attempt resumes where the ledger says, and the upgrade goes on."""
    story = installed(data("1.0.0"))
    story.machinery.jobs["migrate"] = [FAILED | {"exitCode": 2}, {"state": "migrated", "divergence": 0}]
    story.apply(data("1.1.0"))
    story.until(Phase.MIGRATING).begin("an upgrade that goes well, until Migrating")
    return story.until(Phase.SOAKING)


def migrate_fails_for_good() -> Told:
    """The migrate step fails for good: the candidate goes, the expand step is taken back."""
    told = []
    for heading, exit_code in (
        ("the runner says that another try would end the same", 1),
        ("three attempts", 2),
    ):
        story = installed(data("1.0.0"))
        story.machinery.jobs["migrate"] = [FAILED | {"exitCode": exit_code}]
        story.apply(data("1.1.0"))
        story.until(Phase.MIGRATING).begin("an upgrade that goes well, until Migrating")
        told.append((heading, story.settled()))
    return told


def shapes_differ() -> Told:
    """After the backfill the two shapes still differ: no user is moved to them."""
    story = installed(data("1.0.0"))
    story.machinery.jobs["migrate"] = [{"state": "migrated", "divergence": 17}]
    story.apply(data("1.1.0"))
    story.until(Phase.MIGRATING).begin("an upgrade that goes well, until Migrating")
    return story.settled()


def unhealthy() -> Told:
    """The verdict on the candidate is Unhealthy: refused on verification traffic alone."""
    story = installed(small("1.0.0"))
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    story.apply(small("1.1.0"))
    return story.settled()


def no_data_until_the_deadline() -> Told:
    """Prometheus has nothing on the candidate: no data is never Healthy, and the deadline refuses."""
    story = installed(small("1.0.0"))
    health(story, "1.1.0", SILENT, "no series of 1.1.0")
    story.apply(small("1.1.0", deadlines={"verify": "5m"}))
    return story.until(Phase.VERIFYING).long_after(minutes=5).settled()


def retried_after_a_failure() -> Told:
    """A spec that failed is remembered and left alone; a retry tries it once more, and only once."""
    story: Story = installed(small("1.0.0"))
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    story.apply(small("1.1.0"))
    story.settled().begin("1.1.0 was refused as Unhealthy")
    story.apply(small("1.1.0", soak="20s"))
    story.wait(5)
    story.annotate(names.ANNOTATION_RETRY, last_id(story))
    story.settled().long_after(minutes=30)
    health(story, "1.1.0", SILENT, "1.1.0 was mended")
    story.health.clear()
    story.annotate(names.ANNOTATION_RETRY, last_id(story))
    return story.until(Phase.SWITCHING)


TALES: tuple[Tale, ...] = (
    preflight_refused,
    active_does_not_serve,
    hotfix,
    expand_fails,
    expand_never_connects,
    expand_deadline,
    backout_fails,
    green_not_ready,
    image_cannot_be_pulled,
    crash_loop,
    migrate_fails_then_resumes,
    migrate_fails_for_good,
    shapes_differ,
    unhealthy,
    no_data_until_the_deadline,
    retried_after_a_failure,
)
