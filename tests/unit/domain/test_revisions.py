"""Revisions: what their digest covers, and the Deployment that is rendered from one."""

import copy
from typing import Any

import pytest
from tests.unit.domain.plane import Json, api_component, migrations, spec, traffic, worker_component

from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.spec import Colour, ReleaseSpec
from conductor.domain.revision import (
    Revision,
    digest,
    narrow_selector,
    referenced_config_maps,
    render_deployment,
    wide_selector,
)


def parsed(raw: Json) -> ReleaseSpec:
    found = parse_spec(raw)
    assert isinstance(found, ReleaseSpec), found
    return found


def test_the_digest_is_the_same_on_every_operator_and_machine() -> None:
    assert digest(spec("1.0.0")) == "7ca97bffe2"


@pytest.mark.parametrize(
    "change",
    [
        {"components": [api_component("1.0.0", replicas=50)]},
        {"soak": "1h"},
        {"traffic": traffic(ramp=[{"weight": 5}], switchHealth={"errorRate": 0.5})},
        {"approval": {"beforeSwitch": True}},
        {"migrations": migrations("1.0.0")},
        {"paused": True},
        {"rollbackTo": "abc"},
        {"deletionPolicy": "Delete"},
    ],
)
def test_what_does_not_run_is_not_in_the_digest(change: Json) -> None:
    assert digest(spec("1.0.0", **change)) == digest(spec("1.0.0"))


def other_image() -> Json:
    component = api_component("1.0.0")
    component["template"]["spec"]["containers"][0]["image"] = "localhost/mc:1.0.0-other"
    return component


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.0.1"},
        {"components": [other_image()]},
        {"components": [api_component("1.0.0"), worker_component("1.0.0")]},
        {"preStopHook": {"enabled": True, "drainSeconds": 21}},
    ],
)
def test_what_runs_is_in_the_digest(change: Json) -> None:
    assert digest({**spec("1.0.0"), **change}) != digest(spec("1.0.0"))


def test_the_order_of_keys_does_not_matter_and_that_of_components_does() -> None:
    raw = spec("1.0.0", components=[api_component("1.0.0"), worker_component("1.0.0")])
    assert digest(dict(reversed(raw.items()))) == digest(raw)
    turned = {**raw, "components": list(reversed(raw["components"]))}
    assert digest(turned) != digest(raw)


def test_a_recorded_spec_has_the_digest_of_what_the_user_wrote() -> None:
    raw = spec("1.0.0", preStopHook={"enabled": True, "drainSeconds": 20})
    recorded = parsed(raw).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert digest(recorded) == digest(raw)
    assert parsed(recorded) == parsed(raw)


def rendered(component: Json, **more: Any) -> Json:
    found = parsed(spec("1.0.0", components=[component], **more))
    revision = Revision(hash="aaaaaaaaaa", spec=found, pinned=referenced_config_maps(found))
    return render_deployment("mc", "prod", revision, found.components[0], colour=Colour.GREEN, replicas=4)


def test_a_deployment_carries_whose_it_is_and_no_owner() -> None:
    deployment = rendered(api_component("1.0.0"))
    labels = {
        names.LABEL_RELEASE: "mc",
        names.LABEL_COMPONENT: "api",
        names.LABEL_COLOUR: "green",
        names.LABEL_REVISION: "aaaaaaaaaa",
    }

    assert deployment["metadata"] == {
        "name": "mc-api-green-aaaaaaaaaa",
        "namespace": "prod",
        "labels": labels,
    }
    assert deployment["spec"]["selector"] == {"matchLabels": labels}
    assert deployment["spec"]["replicas"] == 4
    assert deployment["spec"]["template"]["metadata"]["labels"] == {**labels, names.LABEL_SERVING: "true"}
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_selectors_are_one_revision_in_steady_state_and_who_serves_in_a_ramp() -> None:
    pod = rendered(api_component("1.0.0"))["spec"]["template"]["metadata"]["labels"]

    assert narrow_selector("mc", "api", "aaaaaaaaaa").items() <= pod.items()
    assert names.LABEL_SERVING not in narrow_selector("mc", "api", "aaaaaaaaaa")
    assert wide_selector("mc", "api").items() <= pod.items()
    assert names.LABEL_REVISION not in wide_selector("mc", "api")


@pytest.mark.parametrize(
    ("hook", "pre_stop", "grace"),
    [
        ({"enabled": True, "drainSeconds": 20}, {"sleep": {"seconds": 20}}, 35),
        ({"enabled": True, "drainSeconds": 5}, {"sleep": {"seconds": 5}}, 30),
        (
            {"enabled": True, "drainSeconds": 20, "httpGet": {"path": "/-/drain", "port": "http"}},
            {"httpGet": {"path": "/-/drain?seconds=20", "port": "http"}},
            35,
        ),
        (
            {"enabled": True, "drainSeconds": 20, "httpGet": {"path": "/-/drain?by=us", "port": 8080}},
            {"httpGet": {"path": "/-/drain?by=us&seconds=20", "port": 8080}},
            35,
        ),
    ],
)
def test_the_pre_stop_hook_is_put_in_and_the_grace_period_outlasts_it(
    hook: Json, pre_stop: Json, grace: int
) -> None:
    pod = rendered(api_component("1.0.0"), preStopHook=hook)["spec"]["template"]["spec"]

    assert pod["containers"][0]["lifecycle"] == {"preStop": pre_stop}
    assert pod["terminationGracePeriodSeconds"] == grace


def test_a_hook_of_the_users_own_is_kept() -> None:
    component = api_component("1.0.0")
    own = {"preStop": {"exec": {"command": ["drain"]}}}
    component["template"]["spec"]["containers"][0]["lifecycle"] = own
    component["template"]["spec"]["terminationGracePeriodSeconds"] = 90
    pod = rendered(component)["spec"]["template"]["spec"]

    assert pod["containers"][0]["lifecycle"] == own
    assert pod["terminationGracePeriodSeconds"] == 90


def test_no_hook_where_it_is_off() -> None:
    pod = rendered(api_component("1.0.0"), preStopHook={"enabled": False})["spec"]["template"]["spec"]
    assert "lifecycle" not in pod["containers"][0]
    assert "terminationGracePeriodSeconds" not in pod


def with_config_maps() -> Json:
    component = api_component("1.0.0")
    pod = component["template"]["spec"]
    pod["volumes"] = [
        {"name": "a", "configMap": {"name": "in-volume"}},
        {
            "name": "b",
            "projected": {"sources": [{"configMap": {"name": "in-projection"}}, {"secret": {"name": "s"}}]},
        },
        {"name": "c", "configMap": {"name": "not-needed", "optional": True}},
        {"name": "d", "configMap": {"name": "mc-traffic"}},
    ]
    pod["initContainers"] = [{"name": "i", "envFrom": [{"configMapRef": {"name": "in-init"}}]}]
    pod["containers"][0]["env"] = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "in-env", "key": "a"}}},
        {"name": "B", "value": "plain"},
    ]
    return component


def test_every_config_map_that_a_template_needs_is_found_and_replaced_by_its_pinned_copy() -> None:
    component = with_config_maps()
    untouched = copy.deepcopy(component)
    found = referenced_config_maps(parsed(spec("1.0.0", components=[component])))
    assert found == ("in-env", "in-init", "in-projection", "in-volume")

    pod = rendered(component)["spec"]["template"]["spec"]
    assert component == untouched
    assert [volume.get("configMap", {}).get("name") for volume in pod["volumes"]] == [
        "in-volume-aaaaaaaaaa",
        None,
        "not-needed",
        "mc-traffic",
    ]
    assert pod["volumes"][1]["projected"]["sources"][0]["configMap"]["name"] == "in-projection-aaaaaaaaaa"
    assert pod["initContainers"][0]["envFrom"][0]["configMapRef"]["name"] == "in-init-aaaaaaaaaa"
    assert pod["containers"][0]["env"][0]["valueFrom"]["configMapKeyRef"]["name"] == "in-env-aaaaaaaaaa"


def test_nulls_that_a_chart_renders_are_taken_for_nothing() -> None:
    component = api_component("1.0.0")
    template = component["template"]
    template["metadata"] = None
    template["spec"] |= {"volumes": None, "initContainers": None, "terminationGracePeriodSeconds": None}
    template["spec"]["containers"][0] |= {"env": None, "envFrom": None, "lifecycle": None}
    assert referenced_config_maps(parsed(spec("1.0.0", components=[component]))) == ()
    made = rendered(component)["spec"]["template"]
    assert made["metadata"]["labels"][names.LABEL_SERVING] == "true"
    assert made["spec"]["terminationGracePeriodSeconds"] == 35
    assert made["spec"]["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 20}}


def test_a_template_without_anything_in_it_is_left_to_the_api_server() -> None:
    component = {**api_component("1.0.0"), "template": {"spec": None}}
    assert referenced_config_maps(parsed(spec("1.0.0", components=[component]))) == ()
    assert rendered(component)["spec"]["template"]["spec"] == {"terminationGracePeriodSeconds": 35}
