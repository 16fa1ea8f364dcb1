"""The operator's own end of a connection through a node."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from conductor.adapters.node_path import AnotherReplicaError, Rounds

HERE = "127.0.0.1"


@pytest.fixture
def rounds() -> Iterator[Rounds]:
    made = Rounds()
    made.start()
    yield made
    made.close()


def test_a_connection_tells_the_round_that_it_ends_in(rounds: Rounds) -> None:
    first, second = rounds.open(1), rounds.open(2)
    assert first != second
    assert [rounds.reached(HERE, port) for port in (first, second, first)] == [1, 2, 1]


def test_a_round_long_past_answers_nobody(rounds: Rounds) -> None:
    oldest = rounds.open(1)
    for number in range(2, 12):
        rounds.open(number)
    with pytest.raises(OSError, match="refused"):
        rounds.reached(HERE, oldest)


def test_a_port_is_not_used_for_two_rounds(rounds: Rounds) -> None:
    ports = [rounds.open(number) for number in range(1, 60)]
    assert len(set(ports)) == len(ports)


def test_another_replica_s_answer_is_no_answer(rounds: Rounds) -> None:
    other = Rounds()
    other.start()
    try:
        port = other.open(1)
        with pytest.raises(AnotherReplicaError):
            rounds.reached(HERE, port)
    finally:
        other.close()


def test_whoever_connects_and_says_nothing_holds_nobody_up(rounds: Rounds) -> None:
    port = rounds.open(1)
    with socket.create_connection((HERE, port)), socket.create_connection((HERE, port)):
        assert rounds.reached(HERE, port) == 1
