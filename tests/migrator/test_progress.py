"""How far a backfill is, asked over HTTP while it runs."""

import http.client
import json
import socket
import threading
from typing import Any

import pytest
from tests.migrator.conftest import SOME_ROWS
from tests.migrator.plane import Plane
from tests.migrator.server import free_port

from migrator.progress_port import Board, shown
from migrator.request import parse_request

BATCHES = "SELECT count(*) FROM maestro_conductor.events WHERE event = 'batch'"


def ask(port: int, path: str = "/progress") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_running_backfill_says_how_far_it_is_and_its_port_goes_with_it(medium: Plane) -> None:
    medium.done("expand", "1.0.0", "1.1.0")
    port = free_port()
    medium.settings |= {"MIGRATOR_PROGRESS_PORT": str(port), "MIGRATOR_PAUSE_MS": "40"}
    runner = medium.start("migrate", "1.0.0", "1.1.0", attempt="3")
    medium.wait_for(BATCHES, lambda count: count >= 10, "ten batches")
    status, told = ask(port)
    assert status == 200
    assert (told["verb"], told["upgrade"], told["attempt"], told["version"]) == ("migrate", "u1", 3, "1.1.0")
    assert 10 * 200 - 200 <= told["rowsDone"] < told["rowsTotal"] == SOME_ROWS
    assert told["rowsPerSecond"] > 0
    assert told["secondsLeft"] >= 0
    assert ask(port, "/")[0] == 404

    assert runner.outcome().exit_code == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_port_that_is_taken_is_said_and_stops_nothing(small: Plane) -> None:
    small.done("expand", "1.0.0", "1.1.0")
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        small.settings["MIGRATOR_PROGRESS_PORT"] = str(taken.getsockname()[1])
        told = small.run("migrate", "1.0.0", "1.1.0")
    assert (told.exit_code, told.answer["state"]) == (0, "migrated")
    assert "progress is not shown" in told.output


def test_who_connects_and_says_nothing_holds_up_neither_others_nor_the_end() -> None:
    request = parse_request(
        ["migrate", "--release", "mc", "--namespace", "p", "--upgrade", "u1", "--attempt", "1", "--from", "1.0.0",
         "--to", "1.1.0"]
    )  # fmt: skip
    board = Board.of(request)
    before = threading.active_count()
    with shown(board, free_port()) as port, socket.create_connection(("127.0.0.1", port), timeout=5):
        board.post({"rowsDone": 7})
        assert ask(port) == (200, {"verb": "migrate", "upgrade": "u1", "attempt": 1, "rowsDone": 7})
    assert threading.active_count() <= before + 1, "the silent one's thread ends by itself, soon"


def test_without_a_port_nobody_listens(small: Plane) -> None:
    with shown(Board({}), 0) as port:
        assert port == 0
