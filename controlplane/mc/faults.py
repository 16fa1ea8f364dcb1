"""The defect of 1.2.0-bad: one request in twenty fails, whoever asks."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from mc.edition import Handler

FAULT_SHARE = 0.05


class LostInvariantError(Exception):
    """Stands for a mistake in the code: nothing handles it, so it is answered with 500."""


def around(draw: Callable[[], float] = random.random) -> "Callable[[Handler], Handler]":
    def faulty(handler: "Handler") -> "Handler":
        async def handle(request: web.Request) -> web.Response:
            if draw() < FAULT_SHARE:
                raise LostInvariantError("an execution without a plan")
            return await handler(request)

        return handle

    return faulty
