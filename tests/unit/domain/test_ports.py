"""One Service, two versions: which target port is right for both."""

from typing import Any

import pytest
from tests.unit.domain.plane import api_component, spec, traffic
from tests.unit.domain.story import NAMESPACE, installed

from conductor.api.parse import parse_spec
from conductor.api.reasons import Reason
from conductor.api.spec import ReleaseSpec
from conductor.api.status import Outcome, Phase
from conductor.domain.ports import port_clash, ramp_ports
from conductor.domain.revision import Revision

RAMP = [{"weight": 50, "hold": "5s"}]


def component(version: str, target: int | str | None, container: int) -> dict[str, Any]:
    made = api_component(version, replicas=2)
    port: dict[str, Any] = {"name": "http", "port": 80}
    made["services"][0]["ports"] = [port if target is None else port | {"targetPort": target}]
    made["template"]["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": container}]
    return made


def revision(version: str, target: int | str | None, container: int) -> Revision:
    parsed = parse_spec(spec(version, components=[component(version, target, container)]))
    assert isinstance(parsed, ReleaseSpec)
    return Revision(hash=version, spec=parsed)


@pytest.mark.parametrize(
    ("former", "new", "shared"),
    [
        ((8080, 8080), (8080, 8080), 8080),
        (("http", 8080), ("http", 9090), "http"),
        ((8080, 8080), ("http", 8080), 8080),
        ((8080, 8080), ("http", 9090), "http"),
        (("http", 8080), (9090, 9090), "http"),
        ((None, 80), (80, 80), 80),
        ((8080, 8080), (9090, 9090), None),
        ((8080, 9999), (9090, 9090), None),
    ],
)
def test_a_target_is_shared_where_it_means_the_right_port_in_both(
    former: tuple[int | str | None, int], new: tuple[int | str | None, int], shared: int | str | None
) -> None:
    from_, to = revision("1.0.0", *former), revision("1.1.0", *new)
    clash = port_clash(from_, to)

    assert (clash is None) == (shared is not None)
    if shared is not None:
        [port] = ramp_ports(from_, to, "mc-api")
        assert (port["port"], port["targetPort"]) == (80, shared)


def test_a_service_that_only_one_of_them_has_is_nobodys_clash() -> None:
    from_, to = revision("1.0.0", 8080, 8080), revision("1.1.0", 8080, 8080)
    assert ramp_ports(from_, to, "mc-other") == ()


def test_users_in_a_ramp_meet_the_port_that_each_version_listens_on() -> None:
    story = installed(spec("1.0.0", components=[component("1.0.0", 8080, 8080)]))
    ramp = traffic(ramp=RAMP)
    story.apply(spec("1.1.0", components=[component("1.1.0", "http", 9090)], traffic=ramp))
    story.until(lambda: story.status.phase is Phase.RAMPING and story.upgrade.step_at is not None)
    service = story.kube.get("Service", NAMESPACE, "mc-api")
    assert service is not None
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_ramp_over_two_ports_is_refused_and_the_same_without_a_ramp_goes_in() -> None:
    story = installed(spec("1.0.0", components=[component("1.0.0", 8080, 8080)]))
    wanted = spec("1.1.0", components=[component("1.1.0", 9090, 9090)])
    story.apply({**wanted, "traffic": traffic(ramp=RAMP)})
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.RAMP_PORTS_DIFFER)
    assert "9090 is not what 1.0.0 listens on (8080)" in last.message

    story.apply({**wanted, "version": "1.1.1"})
    story.settled()
    assert story.status.active_version == "1.1.1"


def test_a_service_and_a_component_that_only_the_new_version_has_stand_in_no_ramps_way() -> None:
    story = installed(spec("1.0.0"))
    new = api_component("1.1.0", name="admin")
    new["services"] = [{"name": "mc-admin", "ports": [{"name": "web", "port": 80}]}]
    components = [api_component("1.1.0"), new]
    story.apply(spec("1.1.0", components=components, traffic=traffic(ramp=RAMP)))
    story.until(lambda: story.status.phase is Phase.RAMPING and story.upgrade.step_at is not None)
    assert story.serving() == {"1.0.0", "1.1.0"}
    story.settled()
    assert story.serving("mc-admin") == {"1.1.0"}
