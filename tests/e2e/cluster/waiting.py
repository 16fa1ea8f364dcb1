"""Waiting on a condition with a deadline, and holding a lock file across processes."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError


def wait_until(condition: Callable[[], bool], what: str, timeout: float, interval: float = 0.1) -> None:
    """Poll until the condition holds; the error says what was waited for and for how long."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise ClusterError(f"{what}: not so after {timeout:.0f} s")
        time.sleep(interval)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Only one process at a time builds one part or changes one instance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
