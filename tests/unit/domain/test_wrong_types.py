"""A value of another type, anywhere in a spec: never a defect, and nothing but status is written for it."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.domain.plane import Json, api_component, migrations, spec, traffic, worker_component
from tests.unit.domain.story import NAMESPACE, Story, installed

from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.reasons import Reason
from conductor.api.spec import Colour, ReleaseSpec
from conductor.api.status import Phase
from conductor.domain.ports import port_clash
from conductor.domain.revision import (
    Revision,
    digest,
    grace_problem,
    referenced_config_maps,
    render_deployment,
)

Path = tuple[str | int, ...]
WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "wrong",
    [],
    [None],
    ["a"],
    {},
    {"a": None},
    {"name": {}},
)


def rich_template(version: str) -> Json:
    """Everything in it that the operator reads before the API server is asked about it."""
    container = {
        "name": "api",
        "image": f"localhost/mc:{version}",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [
            {"name": "A", "value": "a"},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "b"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings", "optional": False}}],
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    }
    beside = {
        "name": "beside",
        "image": "localhost/beside:1",
        "ports": [{"containerPort": 9090, "protocol": "TCP"}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "lifecycle": {},
    }
    pod = {
        "containers": [container, beside],
        "initContainers": [{"name": "first", "image": "localhost/mc:1", "env": []}],
        "volumes": [
            {"name": "v", "configMap": {"name": "files"}},
            {"name": "w", "projected": {"sources": [{"configMap": {"name": "more"}}]}},
        ],
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"runAsUser": 1000},
    }
    return {"metadata": {"labels": {"app": "mc"}, "annotations": {}}, "spec": pod}


HTTP_DRAIN: Json = {"enabled": True, "drainSeconds": 5, "httpGet": {"path": "/drain", "port": "http"}}
WAITER: Json = {
    "enabled": True,
    "drainSeconds": 5,
    "waiter": {"image": "localhost/drain:1", "until": "Silence", "settleSeconds": 2},
}


def rich(version: str, hook: Json = WAITER) -> Json:
    component = api_component(version, template=rich_template(version))
    return spec(
        version,
        components=[component, worker_component(version)],
        migrations=migrations(version),
        traffic=traffic(ramp=[{"weight": 10, "hold": "1s"}]),
        preStopHook=hook,
    )


def paths(node: Any, so_far: Path = ()) -> Iterator[Path]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*so_far, key)
        yield from paths(value, (*so_far, key))


def put(raw: Json, path: Path, value: Any) -> Json:
    changed = copy.deepcopy(raw)
    node: Any = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return changed


EVERYWHERE = tuple(paths(rich("1.1.0")))
OF_THE_OTHER_HOOK = tuple(
    path for path in paths(rich("1.1.0", HTTP_DRAIN)) if path[:2] == ("preStopHook", "httpGet")
)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("x", '.template: "x" is not an object; write its fields as key: value'),
        ({"spec": "x"}, '.template.spec: "x" is not an object; write its fields as key: value'),
        (
            {"spec": {"containers": [{"env": "x"}]}},
            '.template.spec.containers[0].env: "x" is not valid: input should be a valid list; correct it',
        ),
    ],
)
def test_a_template_of_another_type_is_named_with_its_value_and_the_mend(template: Any, said: str) -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", components=[api_component("1.1.0", template=template)]))
    before = len(story.kube.writes)
    story.wait(5)

    assert story.status.message == f"spec.components[0]{said}"
    assert story.condition("Stalled") == ("True", Reason.INVALID_SPEC)
    assert {(write.kind, write.subresource) for write in story.kube.writes[before:]} <= {
        (names.KIND, "status"),
        ("Event", None),
    }
    assert story.serving() == {"1.0.0"}


@pytest.mark.parametrize(
    ("hook", "path"),
    [(WAITER, path) for path in EVERYWHERE] + [(HTTP_DRAIN, path) for path in OF_THE_OTHER_HOOK],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_is_accepted_can_be_rendered_and_compared(hook: Json, path: Path) -> None:
    """Whatever passes here is read by these alone before the API server has the last word."""
    good = parse_spec(rich("1.0.0", hook))
    assert isinstance(good, ReleaseSpec)
    former = Revision(hash="0a1b2c3d4e", spec=good)
    for value in WRONG:
        raw = put(rich("1.1.0", hook), path, value)
        found = parse_spec(raw)
        if not isinstance(found, ReleaseSpec):
            assert all(finding.field.startswith("spec") for finding in found)
            continue
        revision = Revision(hash=digest(raw), spec=found, pinned=referenced_config_maps(found))
        for component in found.components:
            grace_problem(component, found.pre_stop_hook)
            render_deployment("mc", "prod", revision, component, colour=Colour.GREEN, replicas=1)
        port_clash(former, revision)


@pytest.mark.story
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    path=st.sampled_from(EVERYWHERE),
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_no_pass_ends_in_a_defect(path: Path, value: Any) -> None:
    story = installed(spec("1.0.0"))
    for name in ("settings", "files", "more"):
        story.kube.put("ConfigMap", NAMESPACE, {"metadata": {"name": name}, "data": {}})
    # Applied without its telling, which reads specs as well.
    raw = put(rich("1.1.0"), path, value)
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "spec": raw})
    # The API server has the last word on a template, and refuses what is wrong in it by dry-run.
    story.kube.rejects = lambda manifest: "as scripted" if manifest["kind"] == "Deployment" else None
    before = len(story.kube.writes)
    for _ in range(12):
        story.turn()
    if isinstance(parse_spec(raw), ReleaseSpec):
        return

    assert story.status.phase is Phase.STABLE
    assert story.condition("Stalled") == ("True", Reason.INVALID_SPEC)
    written = {(write.kind, write.subresource) for write in story.kube.writes[before:] if not write.dry_run}
    assert written <= {(names.KIND, "status"), ("Event", None)}


def test_a_whole_spec_of_another_type_is_a_condition_too() -> None:
    story = Story(spec("1.0.0"))
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "spec": {"components": "x"}})
    story.turn()
    assert story.condition("Stalled") == ("True", Reason.INVALID_SPEC)
