"""What runs already is taken over, and what becomes of it."""

from tests.unit.domain.legacy import (
    DEPLOYMENT,
    adopting,
    apply_deployment,
    apply_service,
    deployment,
    force_service,
    running,
    service,
)
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import Json
from tests.unit.domain.rollouts.planes import Tale, Told, health, last_id, pods, well_again
from tests.unit.domain.story import BAD, NAMESPACE, Story, checkpoint

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

HEADING = "Adopting what runs"


def adopted() -> Story:
    """1.0.0 serves at rest, what it took over is at zero."""
    return checkpoint("rollouts adopted", lambda: running(adopting()).settled()).begin(
        "0.9.0 was adopted, and upgraded to 1.0.0"
    )


def in_the_soak() -> Story:
    """Users are on 1.0.0, and what was adopted stands by."""

    def tell() -> Story:
        story = running(adopting(soak="30s"))
        return story.until(Phase.SOAKING).wait(3)

    return checkpoint("rollouts adoption in the soak", tell).begin("0.9.0 was adopted, 1.0.0 soaks")


def bootstrap_by_adoption() -> Told:
    """A Deployment and a Service that somebody made are taken over as they run, then upgraded as any version is."""
    return running(adopting()).settled()


def adoption_refused() -> Told:
    """Nothing is taken over without consent, nor what could not be moved without loss; each with its mend."""
    silent = running(adopting(adopt=None))
    silent.settled()
    silent.note("spec.adopt is given")
    silent.apply(adopting())
    silent.until(Reason.ADOPTED)
    return [
        ("no consent, then it is given", silent),
        ("a Deployment that is not there", _refused(adopting(), service())),
        ("a label that the template lacks", _refused(_without_labels(), deployment(), service())),
        (
            "a Service over two Deployments",
            _refused(adopting(), deployment(), deployment("other", 1, app="mc", team="green"), service()),
        ),
        (
            "a port that the release does not declare",
            _refused(adopting(), deployment(), service(ports=_two_ports())),
        ),
    ]


def _refused(wanted: Json, *objects: Json) -> Story:
    story = running(wanted, *objects)
    return story.until(Reason.ADOPTION_REFUSED).wait(10)


def _without_labels() -> Json:
    wanted = adopting()
    del wanted["components"][0]["template"]["metadata"]
    return wanted


def _two_ports() -> list[Json]:
    return [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "grpc", "port": 9090}]


def adopted_does_not_serve() -> Told:
    """What has no ready pod is not taken over; what stops serving once it was is not upgraded without a hotfix."""
    never = running(adopting(), deployment(replicas=0), service())
    never.until(Reason.ADOPTION_REFUSED).wait(5)
    apply_deployment(never)
    never.until(Reason.ADOPTED)
    lost = running(adopting(paused=True))
    lost.change(paused=False)
    lost.until(Reason.ADOPTED)
    pods(lost, "0.9.0", Behaviour(ready=False), "no longer ready")
    lost.settled()
    well_again(lost, "0.9.0")
    lost.until(Reason.ROLLED_BACK)
    lost.annotate(names.ANNOTATION_RETRY, last_id(lost))
    return [("before it is adopted", never), ("afterwards", lost.until(Phase.SOAKING))]


def adopted_and_not_followed() -> Told:
    """The first version of the release's own is unhealthy: what was adopted serves on, and is handed back if asked."""
    story = running(adopting())
    health(story, "1.0.0", BAD, "5 % of what 1.0.0 answers are errors")
    story.settled()
    wanted = story.release["spec"]
    story.apply({key: value for key, value in wanted.items() if key != "adopt"})
    return story.until(lambda: not any("adopted" in name for name in _marks(story))).settled()


def _marks(story: Story) -> list[str]:
    found = story.kube.get("Deployment", NAMESPACE, DEPLOYMENT)
    assert found is not None
    return list(found["metadata"].get("annotations") or {})


def rollback_to_what_was_adopted() -> Told:
    """In the soak users go back to what was adopted, whose Deployment was kept able to take them."""
    story = in_the_soak()
    health(story, "1.0.0", BAD, "5 % of what 1.0.0 answers are errors")
    return story.settled()


def adopted_manifests_applied_again() -> Told:
    """GitOps goes on applying the old manifests: nobody is led to the old pods, and in the end people are told."""
    soft = in_the_soak()
    apply_service(soft)
    soft.wait(3)
    hard = adopted()
    for _ in range(3):
        apply_deployment(hard)
        force_service(hard)
        hard.wait(5)
    hard.annotate(names.ANNOTATION_RETRY, f"{last_id(hard)}/traffic/{hard.status.traffic.reversions}")
    hard.settled()
    return [("an ordinary apply, in the soak", soft), ("forced, at rest", hard)]


def adopted_handed_back_in_the_end() -> Told:
    """spec.adopt is taken out once the release serves: the Deployment is its owner's again, at zero."""
    story = adopted()
    wanted = story.release["spec"]
    story.apply({key: value for key, value in wanted.items() if key != "adopt"})
    return story.settled()


TALES: tuple[Tale, ...] = (
    bootstrap_by_adoption,
    adoption_refused,
    adopted_does_not_serve,
    adopted_and_not_followed,
    rollback_to_what_was_adopted,
    adopted_manifests_applied_again,
    adopted_handed_back_in_the_end,
)
