"""What is not taken over: each with the field, its value and the mend, and without a mark on anything."""

import pytest
from tests.unit.domain.legacy import WORKER, adopting, deployment, running, service, with_worker
from tests.unit.domain.plane import Json
from tests.unit.effects.memory_api import merged

from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.reasons import Reason
from conductor.api.spec import ReleaseSpec
from conductor.domain.adoptable import problem

REFUSALS: dict[str, tuple[Json, Json, Json, str]] = {
    "another release's": (
        adopting(),
        merged(deployment(), {"metadata": {"labels": {names.LABEL_RELEASE: "other"}}}),
        service(),
        "belongs to release other",
    ),
    "no plain selector": (
        adopting(),
        merged(
            deployment(), {"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}}
        ),
        service(),
        "only matchLabels",
    ),
    "a Service of another release": (
        adopting(),
        deployment(),
        merged(service(), {"metadata": {"labels": {names.LABEL_RELEASE: "other"}}}),
        "Service mc-api belongs to release other",
    ),
    "headless": (adopting(), deployment(), service(clusterIP="None"), "headless"),
    "a key that is ours to add": (
        adopting(),
        deployment(),
        service(selector={"app": "mc", names.LABEL_POD_TEMPLATE_HASH: "0123456789"}),
        "take that key out",
    ),
    "no selector": (adopting(), deployment(), service(selector={}), "no selector"),
    "selects nothing": (adopting(), deployment(), service(selector={"app": "none"}), "selects no pod"),
    "UDP": (
        adopting(),
        deployment(),
        service(ports=[{"port": 80, "protocol": "UDP", "targetPort": 8080}]),
        "is UDP",
    ),
    "a target that no spec may name": (
        adopting(),
        deployment(),
        service(ports=[{"port": 80, "targetPort": "80-tcp"}]),
        "targetPort 80-tcp",
    ),
    "a Service without its Deployment": (
        with_worker(adopt={"version": "0.9.0", "deployments": [{"component": "worker", "name": WORKER}]}),
        deployment(WORKER, 1, app="worker"),
        service(),
        "spec.adopt names no Deployment of component api",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_moved_without_loss_is_refused_with_field_value_and_mend(case: str) -> None:
    wanted, found, front, words = REFUSALS[case]
    story = running(wanted, found, front)
    marks = len(story.kube.writes)
    story.until(Reason.ADOPTION_REFUSED).wait(10)
    assert words in story.status.message
    assert story.status.message.startswith("spec.")
    assert story.condition("Stalled") == ("True", "AdoptionRefused")
    assert story.condition("Ready")[0] == "False"
    written = {write.kind for write in story.kube.writes[marks:] if not write.name.startswith("mc-receipts")}
    assert written <= {names.KIND, "Event"}


def test_a_component_whose_service_is_not_there_has_no_users_to_take_over() -> None:
    story = running(adopting(), deployment())
    story.until(Reason.ADOPTION_REFUSED)
    assert "no Service of component api is there" in story.status.message


@pytest.mark.parametrize(
    ("adopt", "words"),
    [
        ({"version": "one", "deployments": [{"component": "api", "name": "a"}]}, "not a semantic version"),
        ({"version": "1.0.0", "deployments": []}, "deployments"),
        (
            {"version": "1.0.0", "deployments": [{"component": "nobody", "name": "a"}]},
            "names component 'nobody'",
        ),
        (
            {
                "version": "1.0.0",
                "deployments": [{"component": "api", "name": "a"}, {"component": "api", "name": "b"}],
            },
            "names component 'api' twice",
        ),
    ],
)
def test_a_spec_that_names_what_cannot_be_is_told_so(adopt: Json, words: str) -> None:
    findings = parse_spec(adopting(adopt=adopt))
    assert not isinstance(findings, ReleaseSpec)
    assert words in "; ".join(str(finding) for finding in findings)


def test_what_a_controller_made_is_that_controllers() -> None:
    owned = {"ownerReferences": [{"kind": "Rollout", "name": "shop", "controller": True}]}
    s = running(adopting(), merged(deployment(), {"metadata": owned}), service()).observe()
    assert s.found is not None
    assert "is controlled by Rollout shop" in str(problem(s, s.found))
