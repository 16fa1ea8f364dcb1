"""The defect of 1.2.1-slow: usage is metered exactly, one request after the other.

Every call of a pod passes one meter, which rates it and meanwhile lets no other by. A few calls at a time
hardly notice. When the users come, they queue in front of it, until each has waited as long as metering may
hold a request up and goes on unmetered. The meter costs no CPU and holds no database connection.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from mc.edition import Handler

RATING_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0


class UsageMeter:
    """Lets one call by at a time, in the order in which they came."""

    def __init__(self, rating_seconds: float, longest_wait_seconds: float) -> None:
        self._rating_seconds = rating_seconds
        self._longest_wait_seconds = longest_wait_seconds
        self._turn = asyncio.Lock()
        self.metered = 0
        self.unmetered = 0

    async def meter(self) -> None:
        try:
            async with asyncio.timeout(self._longest_wait_seconds):
                await self._turn.acquire()
        except TimeoutError:
            self.unmetered += 1
            return
        try:
            await asyncio.sleep(self._rating_seconds)
            self.metered += 1
        finally:
            self._turn.release()


def around(
    rating_seconds: float = RATING_SECONDS, longest_wait_seconds: float = LONGEST_WAIT_SECONDS
) -> "Callable[[Handler], Handler]":
    meter = UsageMeter(rating_seconds, longest_wait_seconds)

    def metered(handler: "Handler") -> "Handler":
        async def handle(request: web.Request) -> web.Response:
            await meter.meter()
            return await handler(request)

        return handle

    return metered
