"""What the operator is started with: flags, with the environment as their default."""

import os

import pytest

from conductor.runtime.main import parse_options


def test_two_processes_of_one_pod_have_two_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "conductor-0")
    assert parse_options([]).identity == f"conductor-0_{os.getpid()}"


def test_an_identity_that_is_given_is_taken_as_it_is() -> None:
    assert parse_options(["--identity=rig"]).identity == "rig"


def test_namespaces_are_a_list_and_none_means_all() -> None:
    assert parse_options(["--namespaces=prod,stage"]).namespaces == ("prod", "stage")
    assert parse_options(["--namespaces="]).namespaces == ()
