"""Turns: one pass of a release at a time, the earlier time wins, asking during a pass asks for another."""

import threading
from collections import Counter

import pytest

from conductor.runtime.turns import Key, Turns

A, B = ("prod", "a"), ("prod", "b")


class HandClock:
    """Moves only by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def turns(clock: HandClock) -> Turns[Key]:
    return Turns(clock)


def taken(turns: Turns[Key]) -> Key:
    turn = turns.take()
    assert turn is not None
    return turn[0]


def test_what_is_asked_for_is_taken_once(turns: Turns[Key]) -> None:
    turns.ask(A)
    turns.ask(A)
    assert taken(turns) == A
    assert turns.waiting() == 0


def test_the_earlier_time_wins_in_either_order(turns: Turns[Key], clock: HandClock) -> None:
    turns.ask(A, 60)
    turns.ask(A, 5)
    turns.ask(A, 30)
    clock.now += 5
    turn = turns.take()
    assert turn == (A, 0.0)
    assert turns.waiting() == 0, "the later ones are answered with it"


def test_who_is_due_first_comes_first_and_lateness_is_told(turns: Turns[Key], clock: HandClock) -> None:
    turns.ask(A, 10)
    turns.ask(B, 2)
    clock.now += 12
    assert turns.take() == (B, 10.0)
    assert turns.take() == (A, 2.0)


def test_a_release_under_way_is_not_taken_again_until_it_is_done(turns: Turns[Key]) -> None:
    turns.ask(A)
    assert taken(turns) == A
    turns.ask(A)
    turns.ask(B)
    assert taken(turns) == B, "the running one is passed over"
    turns.done(A)
    assert taken(turns) == A


def test_turns_that_were_asked_for_earlier_since_take_no_room(turns: Turns[Key], clock: HandClock) -> None:
    others = [("prod", f"r{number}") for number in range(50)]
    for other in others:
        turns.ask(other, 7200)
    for _ in range(2000):
        turns.ask(A, 3600)
        turns.ask(A)
        assert taken(turns) == A
        turns.done(A)
    assert turns.waiting() == len(others)
    assert sum(map(len, turns._queues.values())) < 1000
    clock.now += 7200
    assert {taken(turns) for _ in others} == set(others)


def test_what_nobody_asks_for_any_more_is_not_taken(turns: Turns[Key], clock: HandClock) -> None:
    turns.ask(A, 5)
    turns.ask(B, 6)
    turns.forget(A)
    turns.forget(("prod", "never asked for"))
    clock.now += 10
    assert turns.take() == (B, 4.0)
    assert turns.waiting() == 0


def test_a_negative_delay_is_now(turns: Turns[Key]) -> None:
    turns.ask(A, -5)
    assert turns.take() == (A, 0.0)


def test_closing_sends_everybody_home_even_with_turns_left(turns: Turns[Key]) -> None:
    got: list[object] = []
    waiters = [threading.Thread(target=lambda: got.append(turns.take())) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    turns.ask(A, 3600)
    turns.close()
    for waiter in waiters:
        waiter.join(timeout=5)
    assert got == [None, None, None]
    assert turns.take() is None


def test_a_waiting_worker_is_woken_by_an_earlier_turn(turns: Turns[Key]) -> None:
    got: list[object] = []
    turns.ask(A, 3600)
    waiter = threading.Thread(target=lambda: got.append(turns.take()))
    waiter.start()
    turns.ask(B)
    waiter.join(timeout=5)
    assert got == [(B, 0.0)]


def test_many_workers_never_pass_one_release_at_once_and_lose_no_turn(turns: Turns[Key]) -> None:
    keys = [("prod", f"r{number}") for number in range(5)]
    running: set[Key] = set()
    clashes: list[Key] = []
    passes: Counter[Key] = Counter()
    lock = threading.Lock()

    def work() -> None:
        while (turn := turns.take()) is not None:
            key = turn[0]
            with lock:
                if key in running:
                    clashes.append(key)
                running.add(key)
                passes[key] += 1
                again = passes[key] < 40
            if again:
                turns.ask(key)
            with lock:
                running.discard(key)
                finished = sum(passes.values()) == 40 * len(keys)
            turns.done(key)
            if finished:
                turns.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for key in keys:
        turns.ask(key)
    for worker in workers:
        worker.join(timeout=20)

    assert clashes == []
    assert passes == dict.fromkeys(keys, 40)


def test_what_presses_goes_before_others_that_are_due(turns: Turns[Key], clock: HandClock) -> None:
    turns.press(B, True)
    turns.ask(A, 1)
    turns.ask(B, 4)
    clock.now += 5
    assert turns.take() == (B, 1.0)
    assert turns.take() == (A, 4.0)


def test_what_presses_and_is_not_due_keeps_nobody_waiting(turns: Turns[Key], clock: HandClock) -> None:
    turns.press(B, True)
    turns.ask(A, 3)
    turns.ask(B, 4)
    clock.now += 3
    assert turns.take() == (A, 0.0)
    clock.now += 1
    assert turns.take() == (B, 0.0)


def test_nobody_is_starved_by_what_presses(turns: Turns[Key], clock: HandClock) -> None:
    turns.press(B, True)
    turns.ask(A)
    clock.now += 5.5
    turns.ask(B)
    assert taken(turns) == A, "who is five seconds late presses as well"
    assert taken(turns) == B


def test_what_presses_no_more_waits_like_the_others(turns: Turns[Key], clock: HandClock) -> None:
    turns.press(B, True)
    turns.press(B, False)
    turns.ask(A)
    clock.now += 1
    turns.ask(B)
    assert taken(turns) == A
    assert taken(turns) == B


def test_who_is_asked_for_while_another_is_passed_is_taken_at_once(
    turns: Turns[Key], clock: HandClock
) -> None:
    """The turn that was taken is no reason to let others sleep."""
    taken_by: list[Key] = []
    both = threading.Semaphore(0)

    def work() -> None:
        turn = turns.take()
        if turn is not None:
            taken_by.append(turn[0])
        both.release()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    turns.ask(A)
    assert both.acquire(timeout=5)
    clock.now += 1
    turns.ask(B)
    assert both.acquire(timeout=5), "the other worker sleeps on"
    assert taken_by == [A, B]
