"""Parts of a long benchmark that are done, on disk: a run that broke off goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class StopBeforeError(Exception):
    """The run was asked to go no further than this."""


class Checkpoint:
    """What each part found, by its name, in the order in which they were done.

    It counts only for the same `about` (the cluster and what is measured): another one begins afresh.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *, stop_before: str = "") -> None:
        self._path = path
        self._about = json.loads(json.dumps(about))
        self._stop_before = stop_before
        self.parts: dict[str, Json] = self._read()

    def _read(self) -> dict[str, Json]:
        if not self._path.exists():
            return {}
        found = json.loads(self._path.read_text())
        parts: dict[str, Json] = found["parts"] if found["about"] == self._about else {}
        return parts

    def part(self, name: str, measure: Callable[[], Json]) -> Json:
        """What a part found: as it was found before, else now. Raises StopBeforeError."""
        if name in self.parts:
            return self.parts[name]
        if name == self._stop_before:
            raise StopBeforeError(name)
        self.parts[name] = measure()
        self._write()
        return self.parts[name]

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"about": self._about, "parts": self.parts}, indent=1) + "\n")
        fresh.replace(self._path)

    def finished(self) -> None:
        """The report is written: the next run is another one."""
        self._path.unlink(missing_ok=True)
