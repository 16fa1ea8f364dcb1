"""Running other programs: the command and the end of its output stand in the error."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.errors import ClusterError

_TAIL = 2000


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Run to the end and return stdout; a non-zero exit raises with both outputs' tails."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env={**os.environ, **env} if env is not None else None,
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise ClusterError(
            f"{words[0]}: not installed; `python -m cluster up`, as root, does it"
        ) from missing
    except subprocess.TimeoutExpired as late:
        raise ClusterError(f"{' '.join(words[:6])}: no end after {timeout} s") from late
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).decode(errors="replace")[-_TAIL:]
        raise ClusterError(f"{' '.join(words[:12])}: exit {done.returncode}\n{tail}")
    return done.stdout.decode(errors="replace")


def succeeds(argv: Sequence[str | Path], env: Mapping[str, str] | None = None, timeout: float = 10) -> bool:
    """True when the command ends with 0 in time; its output is of no interest."""
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **env} if env is not None else None,
            timeout=timeout,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
