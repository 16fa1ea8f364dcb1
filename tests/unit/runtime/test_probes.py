"""Our own requests: all releases get their share, whatever the others' pods do."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conductor.adapters.clock import wall_clock
from conductor.adapters.outbound import Outbound
from conductor.api.urls import Place
from conductor.domain.sampling import ProbeOrder, Request
from conductor.runtime import probes as probes_module
from conductor.runtime.probes import Probes

#: Enough for three orders that hang and one that does not.
THREADS = 14
SINCE = datetime(2026, 3, 1, tzinfo=UTC)


class Answers:
    """A server that answers at once, but for the paths that hang until they are let go."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.let_go = threading.Event()
        self.news = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "hang" in self.path:
                    outer.let_go.wait(20)
                with outer.news:
                    outer.counts[self.path] += 1
                    outer.news.notify_all()
                self.send_response(500 if "broken" in self.path else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Tests tell enough."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def until(self, least: int, *paths: str) -> bool:
        """Wait until each path was asked for so often."""
        with self.news:
            return self.news.wait_for(lambda: all(self.counts[path] >= least for path in paths), timeout=15)

    def order(self, path: str, *, budget: int = 1_000_000, rate: float = 1.0, lanes: int = 4) -> ProbeOrder:
        port = self.server.server_port
        request = Request(port, "GET", path, None, 200, "1.0.0", None, None)
        return ProbeOrder(path, "127.0.0.1", SINCE, (request,), budget, rate, lanes)


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.let_go.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Probes]:
    monkeypatch.setattr(probes_module, "_THREADS", THREADS)
    made = Probes(_Anywhere(), wall_clock)
    made.start()
    yield made
    made.close()


class _Anywhere(Outbound):
    """Lets requests to this machine pass, where the test's server is."""

    def refusal(self, text: str) -> str | None:
        return None


def test_more_orders_than_threads_are_all_served(probes: Probes, answers: Answers) -> None:
    paths = [f"/{number}" for number in range(THREADS + 6)]
    for path in paths:
        probes.order(("prod", path), (answers.order(path),))
    assert answers.until(2, *paths)
    most = max(answers.counts.values())
    assert answers.until(most + 3, *paths), "nobody is served first and nobody last"


def test_one_that_hangs_holds_up_its_own_lanes_only(probes: Probes, answers: Answers) -> None:
    for number in range(3):
        probes.order(("prod", f"hang-{number}"), (answers.order(f"/hang/{number}"),))
    probes.order(("prod", "good"), (answers.order("/good"),))
    assert answers.until(50, "/good")


def test_what_is_ordered_otherwise_begins_anew_and_the_same_goes_on(probes: Probes, answers: Answers) -> None:
    key = ("prod", "mc")
    order = answers.order("/a")
    probes.order(key, (order,))
    assert answers.until(20, "/a")
    sent = probes.newest(key)["/a"].sent
    probes.order(key, (order, answers.order("/b")))
    assert probes.newest(key)["/a"].sent >= sent
    probes.order(key, (answers.order("/b"),))
    assert set(probes.newest(key)) == {"/b"}
    probes.order(key, ())
    assert probes.newest(key) == {}


def test_a_gateway_is_asked_where_the_administrator_said_and_no_other_is(
    monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    """Not even one that says itself where it is: nothing of a Gateway is read."""
    monkeypatch.setattr(probes_module, "_THREADS", THREADS)
    named = {"infra/edge": Place("127.0.0.1", answers.server.server_port)}
    probes = Probes(_Anywhere(), wall_clock, named)
    probes.start()
    there, elsewhere = answers.order("/there"), answers.order("/elsewhere")
    nowhere = replace(there, address="", requests=(replace(there.requests[0], port=0),), gateway="infra/edge")
    try:
        probes.order(("prod", "mc"), (nowhere, replace(elsewhere, gateway="prod/own")))
        assert answers.until(5, "/there")
        assert set(probes.newest(("prod", "mc"))) == {"/there"}
        sent = probes.newest(("prod", "mc"))["/there"].sent
        probes.order(("prod", "mc"), (nowhere,))
        assert probes.newest(("prod", "mc"))["/there"].sent >= sent, "the same order goes on"
        assert answers.counts["/elsewhere"] == 0
    finally:
        probes.close()


def test_past_its_budget_an_order_keeps_to_its_rate(probes: Probes, answers: Answers) -> None:
    probes.order(("prod", "mc"), (answers.order("/a", budget=8, rate=0.01, lanes=4),))
    probes.order(("prod", "other"), (answers.order("/b"),))
    assert answers.until(60, "/b")
    assert answers.counts["/a"] <= 8 + 4 + 4, (
        "the budget, one a lane after it, one a lane to see that the path is up"
    )


def test_failures_are_counted_and_named(probes: Probes, answers: Answers) -> None:
    key = ("prod", "mc")
    probes.order(key, (answers.order("/sometimes"),))
    assert answers.until(3, "/sometimes")
    probes.order(key, (answers.order("/sometimes/broken"),))
    assert answers.until(1, "/sometimes/broken")
    assert probes.newest(key)["/sometimes/broken"].matched_in_a_row == 0
