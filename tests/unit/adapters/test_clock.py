"""The clock of all decisions: what the API server's answers say, and nothing of this machine's own."""

import ast
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from conductor.adapters.clock import ServerClock

BEGIN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OPERATOR = Path(__file__).resolve().parents[3] / "operator" / "conductor"
#: What these write is read by people alone.
FOR_PEOPLE = {"adapters/clock.py", "effects/announce.py", "runtime/lease.py", "cli/options.py"}
WALL = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("time", "time")}


class Server:
    """An API server whose clock can jump, and an operator's clock that hears its answers once a second."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ahead = timedelta()
        self.gaps: list[float] = []
        self.clock = ServerClock(lambda: self.seconds, self._wall, self.gaps.append)

    def _wall(self) -> datetime:
        return BEGIN + timedelta(days=1)

    @property
    def time(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds) + self.ahead

    def answer(self, took: float = 0.02) -> None:
        asked = self.seconds
        self.seconds += took
        self.clock.told(format_datetime(self.time, usegmt=True), asked, self.seconds)

    def run(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.seconds < end:
            former = self.clock.now()
            self.seconds += 1 / 3
            self.answer()
            assert self.clock.now() >= former, "it went back"

    def off(self) -> float:
        """Seconds by which the clock is ahead of the server's."""
        return (self.clock.now() - self.time).total_seconds()


@pytest.fixture
def server() -> Server:
    made = Server()
    made.answer()
    return made


def test_it_is_the_servers_time_to_a_fraction_of_a_second(server: Server) -> None:
    assert abs(server.off()) <= 0.6, "a Date tells whole seconds"
    server.run(30)
    assert abs(server.off()) <= 0.1, "many of them tell more"
    assert abs(server.clock.server_now() - server.time) < timedelta(seconds=0.1)


def test_without_an_answer_time_goes_on(server: Server) -> None:
    before = server.clock.now()
    server.seconds += 600
    assert server.clock.now() - before == timedelta(seconds=600)


def test_this_machines_clock_counts_until_the_first_answer_only() -> None:
    server = Server()
    assert server.clock.now() == BEGIN + timedelta(days=1)
    server.answer()
    assert abs(server.off()) <= 0.6


@pytest.mark.parametrize("seconds", [60.0, -60.0, 3.0, -3.0])
def test_a_jump_is_followed_at_a_twentieth(server: Server, seconds: float) -> None:
    server.run(10)
    server.ahead = timedelta(seconds=seconds)
    began, at = server.clock.now(), server.seconds
    server.run(60)

    passed, went = server.seconds - at, (server.clock.now() - began).total_seconds()
    assert 0.94 * passed <= went <= 1.06 * passed, "deadlines stay true but for a twentieth"
    assert abs(server.clock.server_now() - server.time) < timedelta(seconds=0.1), (
        "the other one follows at once"
    )
    left = max(0.0, abs(seconds) - 3.0)
    assert abs(abs(server.gaps[-1]) - left) < 1.7

    server.run(20 * abs(seconds))
    assert abs(server.off()) < 1.7


def test_a_clock_that_is_set_right_by_a_second_is_followed_at_once(server: Server) -> None:
    server.run(10)
    server.ahead = timedelta(seconds=1.2)
    server.run(3)
    assert abs(server.off()) < 0.3


def test_an_answer_that_was_long_on_its_way_says_nothing(server: Server) -> None:
    server.run(10)
    held, gap = server.off(), server.gaps[-1]
    server.ahead = timedelta(minutes=5)
    server.answer(took=9.0)
    server.ahead = timedelta()
    assert abs(server.off() - held) < 0.1
    assert server.gaps[-1] == gap


def test_one_that_only_has_slow_answers_corrects_itself_at_the_first_prompt_one() -> None:
    server = Server()
    server.answer(took=9.5)
    server.answer()
    assert abs(server.off()) <= 0.6


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Mar 2026 12:00:00 GMT"])
def test_what_is_no_date_is_left_aside(server: Server, date: str | None) -> None:
    before = server.clock.now()
    server.clock.told(date, server.seconds, server.seconds)
    assert server.clock.now() == before


def test_nothing_else_asks_this_machines_clock() -> None:
    """A decision on it would be moved by a jump of it."""
    found = {
        f"{path.relative_to(OPERATOR)}:{node.lineno}"
        for path in OPERATOR.rglob("*.py")
        if str(path.relative_to(OPERATOR)) not in FOR_PEOPLE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in WALL
    }
    assert found == set()
