"""What makes 1.2.0-bad bad and 1.2.1-slow slow, and that neither asks who is asking."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import TypeAlias, cast

from aiohttp import web
from tests.unit.controlplane.conftest import Plane, a_publication, ready_api, run

from mc import faults, usage

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

REQUEST = cast("web.Request", object())


async def _good(_request: web.Request) -> web.Response:
    return web.Response()


def test_the_bad_version_fails_below_its_share() -> None:
    draws: Iterator[float] = iter([0.0499, 0.05, 0.99])
    handler: Handler = faults.around(lambda: next(draws))(_good)

    async def failed() -> bool:
        try:
            await handler(REQUEST)
        except faults.LostInvariantError:
            return True
        return False

    async def scenario() -> None:
        assert [await failed() for _ in range(3)] == [True, False, False]

    run(scenario())


def test_the_bad_version_answers_500_and_no_probe_notices(plane: Plane) -> None:
    async def scenario() -> None:
        plane.step("1.1.0", "expand")
        async with ready_api(plane, "1.2.0-bad") as mc:
            answers = [await mc.get("/executions") for _ in range(400)]
            failed = [answer for status, answer in answers if status == 500]
            # Of 400 draws at 5 %, fewer than 4 or more than 45 come once in millions of runs.
            assert 4 <= len(failed) <= 45
            assert {answer["error"]["message"] for answer in failed} == {"the request failed here"}
            assert {(await mc.get("/readyz"))[0] for _ in range(50)} == {200}

    run(scenario())


async def _seconds_each(handler: Handler, at_once: int) -> list[float]:
    async def timed() -> float:
        started_at = monotonic()
        await handler(REQUEST)
        return monotonic() - started_at

    return sorted(await asyncio.gather(*(timed() for _ in range(at_once))))


def test_the_slow_version_is_slow_to_many_at_once_only_and_never_beyond_its_bound() -> None:
    """In hundredths of its real times."""
    rating_seconds, longest_wait_seconds = usage.RATING_SECONDS / 10, usage.LONGEST_WAIT_SECONDS / 10

    async def scenario() -> None:
        handler = usage.around(rating_seconds, longest_wait_seconds)(_good)
        few = await _seconds_each(handler, 4)
        assert few[0] < 0.09 / 2
        many = await _seconds_each(handler, 100)
        assert many[-1] < 4 * longest_wait_seconds
        assert many[50] > 0.09

    run(scenario())


def test_the_slow_version_is_right_all_the_same(plane: Plane) -> None:
    async def scenario() -> None:
        plane.step("1.1.0", "expand")
        async with ready_api(plane, "1.2.1-slow") as mc:
            fields = a_publication()
            assert await mc.post("/executions", fields) == (201, {"id": fields["id"]})
            assert (await mc.get(f"/executions/{fields['id']}"))[1]["owner"] == fields["owner"]

    run(scenario())
