"""What people are told where the API server refuses a write of ours for good."""

from tests.unit.domain.plane import api_component, spec
from tests.unit.domain.story import installed
from tests.unit.runtime.test_receipt_passes import Operator

from conductor.adapters.kube import Object
from conductor.api.reasons import Reason
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
