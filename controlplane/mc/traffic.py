"""Which colour serves, as the mounted ConfigMap `mc-traffic` tells it.

Where the ConfigMap is not mounted, or says nothing yet, each colour takes itself for the serving one.
"""

import asyncio
import logging
from pathlib import Path

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class ServingColour:
    def __init__(self, own: str | None, file: Path) -> None:
        self._own = own
        self._file = file
        self._current: str | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether users belong to the other colour."""
        return self._own is not None and self._current is not None and self._current != self._own

    def look(self) -> None:
        try:
            text = self._file.read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            text = ""
        except OSError as error:
            log.warning("cannot read which colour serves: %s", error)
            return
        current = text if text in {"blue", "green"} else None
        if current != self._current:
            log.info("serving colour is %s", current or "not told")
        self._current = current

    async def keep_looking(self) -> None:
        # A mounted ConfigMap is a link that the kubelet swings over: reading it is cheap, watching it is not.
        while True:
            self.look()
            await asyncio.sleep(_LOOK_SECONDS)
