"""Progress lines for long steps: what is being done, since when, and how long it usually takes here."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.paths import cache_root
from cluster.waiting import file_lock

_EVERY_SECONDS = 15.0
_QUIET_BELOW_SECONDS = 3.0


def say(text: str) -> None:
    """One line to stderr, since stdout belongs to what `env` and `kubeconfig` print."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def usual_seconds(step: str, fallback: float) -> float:
    """The time that the step took on this machine last, or the given figure if it never ran here."""
    return _timings().get(step, fallback)


def _timings() -> dict[str, float]:
    path = cache_root() / "timings.json"
    if not path.exists():
        return {}
    try:
        loaded = json.loads(path.read_text())
    except json.JSONDecodeError:
        # A half-written file only costs the estimate; it is rewritten at the end of the step.
        return {}
    return {str(key): float(value) for key, value in loaded.items()}


def _remember(step: str, seconds: float) -> None:
    path = cache_root() / "timings.json"
    with file_lock(cache_root() / "locks" / "timings.lock"):
        timings = _timings()
        timings[step] = round(seconds, 1)
        path.write_text(json.dumps(timings, indent=1, sort_keys=True))


@contextmanager
def step(name: str, usually: float) -> Iterator[None]:
    """Announce a step, repeat a line while it runs, and note its time when it succeeds."""
    expected = usual_seconds(name, usually)
    started = time.monotonic()
    finished = threading.Event()
    if expected >= _QUIET_BELOW_SECONDS:
        say(f"{name} ... (usually {expected:.0f} s)")

    def tick() -> None:
        while not finished.wait(_EVERY_SECONDS):
            say(f"{name} ... {time.monotonic() - started:.0f} s so far, usually {expected:.0f} s")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        finished.set()
        ticker.join()
    seconds = time.monotonic() - started
    _remember(name, seconds)
    if seconds >= 1.0 or expected >= _QUIET_BELOW_SECONDS:
        say(f"{name}: done in {seconds:.1f} s")
