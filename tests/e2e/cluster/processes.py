"""Daemons of a local cluster: started apart from us, found again by process id and start time, ended for sure."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.errors import ClusterError
from cluster.waiting import wait_until

_LOG_TAIL = 1500


def start_time(pid: int) -> str:
    """The kernel's start time of a living process; empty for one that is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def signal_processes(pids: Iterable[int], number: int) -> None:
    """Send a signal; a process that is gone meanwhile is what was wanted."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill_processes(pids: Iterable[int]) -> None:
    """Kill and wait until they are gone. Nobody is asked first: their state is thrown away with them."""
    identities = {pid: start_time(pid) for pid in pids}

    def none_left() -> bool:
        for pid in identities:
            _reap(pid)
        living = [pid for pid, born in identities.items() if born and start_time(pid) == born]
        signal_processes(living, signal.SIGKILL)
        return not living

    wait_until(none_left, "killed processes gone", 20, 0.05)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Not our child: another run of this program started it, and init reaps it.
        return


@dataclass(frozen=True)
class Daemon:
    """One long-running program of the cluster."""

    name: str
    argv: tuple[str, ...]
    pid_file: Path
    log_file: Path
    network_namespace: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start it in the cluster's network namespace, unless it runs already."""
        if self.pid():
            return
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(
                ["nsenter", f"--net={self.network_namespace}", "--", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**_plain_environment(), **self.environment},
                start_new_session=True,
            )
        record = {
            "pid": child.pid,
            "started": start_time(child.pid),
            "argv": list(self.argv),
            "environment": dict(self.environment),
        }
        self.pid_file.write_text(json.dumps(record))
        # The daemon outlives this object on purpose; Popen would warn about that.
        child.returncode = 0

    def pid(self) -> int:
        """Its process id, or 0 when it does not run (also when the id belongs to another process now)."""
        if not self.pid_file.exists():
            return 0
        record = json.loads(self.pid_file.read_text())
        pid = int(record["pid"])
        _reap(pid)
        return pid if record["started"] and start_time(pid) == record["started"] else 0

    def stop(self) -> None:
        pid = self.pid()
        if pid:
            kill_processes([pid])
        self.pid_file.unlink(missing_ok=True)

    def end(self) -> None:
        """Kill it as a crash would; `resume` starts it again with the same arguments."""
        kill_processes([self._running()])

    def suspend(self) -> None:
        """Let it stand still: it keeps its sockets and files and does nothing."""
        signal_processes([self._running()], signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, or start it again where it has ended."""
        pid = self.pid()
        if pid:
            signal_processes([pid], signal.SIGCONT)
            return
        if not self.pid_file.exists():
            raise ClusterError(f"{self.name}: was never started here")
        record = json.loads(self.pid_file.read_text())
        replace(self, argv=tuple(record["argv"]), environment=record["environment"]).start()

    def _running(self) -> int:
        pid = self.pid()
        if not pid:
            raise ClusterError(f"{self.name}: does not run (log: {self.log_file})")
        return pid

    def wait(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until it serves; one that ended in between shows the end of its log."""

        def ready_or_gone() -> bool:
            if not self.pid():
                raise ClusterError(
                    f"{self.name} ended at start; its log {self.log_file} ends:\n{self.log_tail()}"
                )
            return ready()

        wait_until(ready_or_gone, f"{self.name} ready (log: {self.log_file})", timeout)

    def log_tail(self) -> str:
        if not self.log_file.exists():
            return "(no log)"
        return self.log_file.read_text(errors="replace")[-_LOG_TAIL:]


def _plain_environment() -> dict[str, str]:
    """What a daemon needs to find programs; nothing else of the caller's environment leaks into the cluster."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
