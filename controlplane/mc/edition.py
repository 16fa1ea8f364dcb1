"""Which version this is, and what makes it differ: the modules that each version is put together from."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

from mc.shapes import OWNER_IN_ONE, OWNER_SPLIT, Shape

if TYPE_CHECKING:
    from aiohttp import web

    Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class UnknownVersionError(Exception):
    """The version baked into the image is none that this source can be."""


@dataclass(frozen=True, slots=True)
class Edition:
    version: str
    shape: Shape
    # A module whose `around(handler)` wraps every handler of users' requests.
    around: str | None = None

    def wrapper(self) -> "Callable[[Handler], Handler]":
        if self.around is None:
            return lambda handler: handler
        wrapper: Callable[[Handler], Handler] = import_module(self.around).around()
        return wrapper


_EDITIONS = (
    Edition("1.0.0", OWNER_IN_ONE),
    Edition("1.1.0", OWNER_SPLIT),
    Edition("1.2.0-bad", OWNER_SPLIT, around="mc.faults"),
    Edition("1.2.1-slow", OWNER_SPLIT, around="mc.usage"),
)


def edition_of(version: str) -> Edition:
    for edition in _EDITIONS:
        if edition.version == version:
            return edition
    known = ", ".join(edition.version for edition in _EDITIONS)
    raise UnknownVersionError(f"version is {version!r}: build the image with VERSION set to one of {known}")


def baked_version(environment: Mapping[str, str]) -> str:
    """The version written into the package when its image was built; outside of images, MC_VERSION."""
    baked = files("mc").joinpath("VERSION")
    if baked.is_file():
        return baked.read_text().strip()
    return environment.get("MC_VERSION", "")
