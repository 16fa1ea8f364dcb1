"""What the operator is started with: flags, with the environment as their default."""

import os

import pytest

from conductor.api.urls import Place
from conductor.runtime.main import parse_options


def test_two_processes_of_one_pod_have_two_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "conductor-0")
    assert parse_options([]).identity == f"conductor-0_{os.getpid()}"


def test_an_identity_that_is_given_is_taken_as_it_is() -> None:
    assert parse_options(["--identity=rig"]).identity == "rig"


def test_namespaces_are_a_list_and_none_means_all() -> None:
    assert parse_options(["--namespaces=prod,stage"]).namespaces == ("prod", "stage")
    assert parse_options(["--namespaces="]).namespaces == ()


def test_gateways_are_named_with_where_they_are_reached() -> None:
    given = parse_options(["--gateways=infra/edge=http://edge.infra.svc:8000,prod/own=http://203.0.113.7"])
    assert given.gateways == {
        "infra/edge": Place("edge.infra.svc", 8000),
        "prod/own": Place("203.0.113.7", 80),
    }
    assert parse_options([]).gateways == {}


@pytest.mark.parametrize(
    "entry",
    [
        "edge=http://edge.infra.svc",
        "infra/edge",
        "infra/edge=https://edge.infra.svc",
        "infra/edge=http://edge.infra.svc/path",
        "infra/edge=http://user@edge.infra.svc",
        "infra/edge=http://edge.infra.svc:0",
        "infra/edge=http://edge.infra.svc:70000",
        "infra/edge=http://localhost:80",
        "infra/edge=http://169.254.169.254",
        "infra/edge=http://kubernetes.default.svc",
    ],
)
def test_what_names_no_place_of_a_gateway_is_told_with_the_mend(
    entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_options([f"--gateways={entry}"])
    said = capsys.readouterr().err
    assert f"{entry!r} does not say where a Gateway is reached; write NAMESPACE/NAME=http://HOST:PORT" in said
