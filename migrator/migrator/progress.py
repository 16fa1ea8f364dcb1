"""How far a backfill has come: lines in the log, and in the place of the answer for as long as there is none, so that
a container that is killed leaves behind how far it was."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from migrator.answer import leave, log_line
from migrator.progress_port import Board


@dataclass
class Progress:
    """Of one pass over one table. Seconds that are left are an estimate from the rows of this very run."""

    label: str
    version: str
    rows_before: int
    every_seconds: float
    board: Board
    began: float = field(default_factory=time.monotonic)
    _shown_at: float = field(default_factory=time.monotonic)

    def show(self, rows_done: int, rows_total: int, interim: Path) -> None:
        """On the board at once, elsewhere at most once in `every_seconds`."""
        now = time.monotonic()
        rate, left = estimate(rows_done - self.rows_before, rows_total - rows_done, now - self.began)
        told = {"rowsDone": rows_done, "rowsTotal": rows_total, "rowsPerSecond": rate}
        if left is not None:
            told["secondsLeft"] = left
        self.board.post({"version": self.version, **told})
        if now - self._shown_at < self.every_seconds:
            return
        self._shown_at = now
        log_line("info", "progress", file=self.label, **told)
        running = {
            "verb": "migrate",
            "state": "running",
            "version": self.version,
            **told,
            "message": f"{rows_done} of about {rows_total} rows were done; the run was ended before it could answer",
            "mend": "see why its pod was ended; the next attempt goes on from there",
        }
        try:
            leave(json.dumps(running, separators=(",", ":")), interim)
        except OSError as error:
            log_line("warning", "progress not written", path=str(interim), error=str(error.strerror))


def estimate(done: int, left: int, seconds: float) -> tuple[int, int | None]:
    """Rows per second, and the seconds that are left; None where nothing was done yet."""
    rate = done / seconds if seconds > 0 else 0.0
    return round(rate), round(left / rate) if rate > 0 else None
