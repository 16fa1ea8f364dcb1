"""What people are told where the API server refuses a write of ours for good."""

from tests.unit.domain.plane import BACK, FRONT, api_component, pair, spec, strictly
from tests.unit.domain.story import BAD, NAMESPACE, installed
from tests.unit.effects.memory_api import Moment, Write
from tests.unit.runtime.test_receipt_passes import Operator

from conductor.adapters.kube import ApiError, Object
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.domain.companion import AUTOSCALER


def test_an_autoscaler_that_is_refused_at_rest_is_told_by_its_field() -> None:
    """No upgrade begins, so that nobody asked the API server beforehand."""
    story = installed(spec("1.0.0"))

    def said(manifest: Object) -> str | None:
        return "spec.metrics[0].type: Unsupported value" if manifest["kind"] == AUTOSCALER else None

    story.kube.rejects = said
    asked = {"maxReplicas": 8, "metrics": [{"type": "Resourc"}]}
    story.apply(spec("1.0.0", components=[api_component("1.0.0", autoscaling=asked)]))
    Operator(story).run(2)

    status = story.release["status"]
    assert status["reason"] == Reason.WRITE_FAILED
    assert status["message"].startswith("spec.components[api].autoscaling: ")
    assert "spec.metrics[0].type: Unsupported value" in status["message"]
    assert "correct that field" in status["message"]


def test_while_users_wait_to_go_back_the_next_step_comes_soon() -> None:
    story = installed(pair("1.0.0", traffic=strictly()))
    story.apply(pair("1.1.0", traffic=strictly(), soak="5m"))
    story.until(Phase.SOAKING).wait(2)
    story.health["1.1.0"] = BAD
    story.until(Phase.ROLLING_BACK)
    story.kube.witness = None
    story.kube.drop("Service", NAMESPACE, f"{BACK}-blue")

    def fault(moment: Moment, write: Write) -> None:
        if (moment, write.verb, write.kind) == ("before", "create", "Service"):
            raise ApiError(403, "Forbidden", "exceeded quota: few-services")

    story.kube.fault = fault
    operator = Operator(story)
    assert operator.run() == 1.0
    assert story.status.reason == Reason.WRITE_FAILED
    assert story.serving(FRONT) == {"1.1.0"}
    while story.upgrade.switched_back_at is None:
        assert operator.run() == 0.0
    assert story.serving(FRONT) == {"1.0.0"}
    assert 10.0 in {operator.run() for _ in range(4)}, "and nobody waits for what is tried again now"


def test_a_job_that_pulls_images_and_is_refused_holds_nothing_up() -> None:
    asked = {"prePull": {"image": "localhost/drain:dev"}}
    story = installed(spec("1.0.0", surge=asked))
    story.apply(spec("1.1.0", surge=asked))
    story.until(Phase.BRINGING_UP)

    def fault(moment: Moment, write: Write) -> None:
        if (moment, write.verb, write.kind) == ("before", "create", "Job"):
            raise ApiError(403, "Forbidden", "exceeded quota: few-jobs")

    story.kube.fault = fault
    operator = Operator(story)
    for _ in range(20):
        operator.run()
        story.machinery.settle()
        if story.upgrade.pre_pull_told:
            break
    events = story.kube.list("Event", NAMESPACE)
    told = [item["note"] for item in events if item["reason"] == Reason.IMAGE_NOT_EVERYWHERE]
    assert len(told) == 1
    assert "exceeded quota: few-jobs" in told[0]
    story.settled()
    assert story.serving() == {"1.1.0"}
