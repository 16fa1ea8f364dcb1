"""Entry point: `python -m mc api` and `python -m mc worker`."""

import asyncio
import os
import sys

from mc import logs
from mc.edition import UnknownVersionError, baked_version, edition_of
from mc.settings import Settings, SettingsError

USAGE = "usage: python -m mc api|worker"


def main(arguments: list[str]) -> int:
    if arguments not in (["api"], ["worker"]):
        print(f"mc: found arguments {arguments!r}; {USAGE}", file=sys.stderr)
        return 2
    component = arguments[0]
    try:
        settings = Settings.from_environment(os.environ)
        edition = edition_of(baked_version(os.environ))
    except (SettingsError, UnknownVersionError) as error:
        print(f"mc: {error}", file=sys.stderr)
        return 2
    logs.configure(component=component, version=edition.version, colour=settings.colour)
    # Each process carries the libraries of its own part only: both start faster for it.
    if component == "api":
        from mc.api import serve  # noqa: PLC0415
    else:
        from mc.worker import serve  # noqa: PLC0415
    asyncio.run(serve(settings, edition))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
