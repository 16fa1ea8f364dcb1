"""The waiter that is brought into pods whose images have no shell."""

from typing import Any

import pytest
from tests.unit.domain.plane import Json, api_component, spec, worker_component

from conductor.api.parse import parse_spec
from conductor.api.spec import Colour, ReleaseSpec
from conductor.domain.revision import Revision, digest, render_deployment

WAITER: Json = {"image": "registry.example.com/team/drain:0.1.0"}
PROGRAM = "/maestro-drain/drain"


def pod_of(component: Json, **hook: Any) -> Json:
    """The rendered pod spec of this component, with the waiter."""
    components = [component] if component.get("services") else [api_component("1.0.0"), component]
    raw = spec("1.0.0", components=components, preStopHook={"drainSeconds": 20, "waiter": WAITER} | hook)
    found = parse_spec(raw)
    assert isinstance(found, ReleaseSpec), found
    revision = Revision(hash=digest(raw), spec=found)
    made = render_deployment("mc", "prod", revision, found.components[-1], colour=Colour.BLUE, replicas=1)
    pod: Json = made["spec"]["template"]["spec"]
    return pod


def with_containers(*containers: Json, **pod: Any) -> Json:
    component = api_component("1.0.0")
    own = component["template"]["spec"]
    component["template"]["spec"] = own | {"containers": [own["containers"][0] | c for c in containers]} | pod
    return component


def ports(*numbers: int, **more: Any) -> Json:
    return {"ports": [{"containerPort": number, **more} for number in numbers]}


def commands(pod: Json) -> list[list[str]]:
    return [container["lifecycle"]["preStop"]["exec"]["command"] for container in pod["containers"]]


def test_an_init_container_without_privilege_puts_it_where_every_container_runs_it() -> None:
    pod = pod_of(with_containers(ports(8080, 8081)))
    [container] = pod["containers"]

    assert commands(pod) == [
        [PROGRAM, "wait", "-at-most=20s", "-settle=3s", "-until=silence", "-ports=8080,8081"]
    ]
    assert container["volumeMounts"][-1] == {
        "name": "maestro-drain",
        "mountPath": "/maestro-drain",
        "readOnly": True,
    }
    assert pod["volumes"][-1] == {"name": "maestro-drain", "emptyDir": {"sizeLimit": "16Mi"}}
    [installer] = pod["initContainers"]
    assert installer["image"] == WAITER["image"]
    assert installer["args"] == ["install", PROGRAM]
    assert installer["volumeMounts"] == [{"name": "maestro-drain", "mountPath": "/maestro-drain"}]
    assert installer["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsNonRoot": True,
    }
    # A namespace with quotas admits no container that does not say what it takes.
    assert set(installer["resources"]) == {"requests", "limits"}
    assert pod["terminationGracePeriodSeconds"] == 35


def test_what_the_user_wrote_stays_beside_it() -> None:
    own = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    first = {"name": "first", "image": "localhost/first:1"}
    component = with_containers(own, volumes=[{"name": "data", "emptyDir": {}}], initContainers=[first])
    pod = pod_of(component)

    assert [volume["name"] for volume in pod["volumes"]] == ["data", "maestro-drain"]
    assert [container["name"] for container in pod["initContainers"]] == ["maestro-drain", "first"]
    assert [mount["name"] for mount in pod["containers"][0]["volumeMounts"]] == ["data", "maestro-drain"]
    assert "maestro-drain" not in str(component), "the spec itself was changed"


def test_every_container_waits_for_the_ports_of_all() -> None:
    pod = pod_of(
        with_containers(
            {"name": "api", **ports(8080)}, {"name": "beside", "ports": None}, ports(53, protocol="UDP")
        )
    )
    assert [command[-1] for command in commands(pod)] == ["-ports=8080"] * 3


def test_without_named_ports_it_watches_what_is_listened_on() -> None:
    [command] = commands(pod_of(with_containers({"ports": []})))
    assert not any(argument.startswith("-ports") for argument in command)


def test_a_hook_of_the_users_own_wins_and_the_waiter_is_brought_for_the_others_only() -> None:
    own = {"lifecycle": {"preStop": {"exec": {"command": ["drain"]}}}}
    kept, brought = pod_of(with_containers({"name": "api", **own}, {"name": "beside"}))["containers"]
    assert kept["lifecycle"] == own["lifecycle"]
    assert "volumeMounts" not in kept
    assert brought["lifecycle"]["preStop"]["exec"]["command"][0] == PROGRAM

    pod = pod_of(with_containers(own))
    assert "initContainers" not in pod
    assert "volumes" not in pod


def test_a_hook_after_the_start_is_kept_beside_it() -> None:
    after = {"postStart": {"exec": {"command": ["warm"]}}}
    [container] = pod_of(with_containers({"lifecycle": after}))["containers"]
    assert container["lifecycle"]["postStart"] == after["postStart"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][0] == PROGRAM


def test_it_is_told_how_long_and_until_when() -> None:
    waiter = WAITER | {"until": "Settled", "settleSeconds": 5}
    [command] = commands(pod_of(with_containers({}), drainSeconds=60, waiter=waiter))
    assert command[:5] == [PROGRAM, "wait", "-at-most=60s", "-settle=5s", "-until=settled"]


@pytest.mark.parametrize(("user", "must_not_be_root"), [(0, False), (1000, True), (None, True)])
def test_it_runs_as_the_user_of_the_pod(user: int | None, must_not_be_root: bool) -> None:
    pod = pod_of(with_containers({}, securityContext={"runAsUser": user}))
    bounds = pod["initContainers"][0]["securityContext"]
    assert "runAsUser" not in bounds
    assert bounds.get("runAsNonRoot", False) is must_not_be_root


def test_neither_workers_nor_a_hook_that_is_off_bring_it() -> None:
    assert "initContainers" not in pod_of(worker_component("1.0.0"))
    assert "initContainers" not in pod_of(with_containers({}), enabled=False)
