"""A control plane's database as the tests see it, with the runner that works on it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from migrator.run import main

ROOT = Path(__file__).parents[2]
MC_MIGRATIONS = ROOT / "controlplane" / "migrations"
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Outcome:
    """What the operator and a reader of the log get to see."""

    exit_code: int
    answer: dict[str, Any]
    output: str

    @property
    def reason(self) -> str:
        return str(self.answer.get("reason", ""))


@dataclass(frozen=True)
class RunningRunner:
    """A runner in a process of its own."""

    process: subprocess.Popen[str]
    termination_log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=_PATIENCE_SECONDS)
        if self.process.stdout:
            self.process.stdout.close()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def outcome(self) -> Outcome:
        output, _ = self.process.communicate(timeout=60)
        return Outcome(self.process.returncode, json.loads(self.termination_log.read_text()), output)


@dataclass
class Plane:
    """One database, one folder of migrations, and the arguments that the operator would give."""

    url: str
    folder: Path
    migrations: Path = MC_MIGRATIONS
    settings: dict[str, str] = field(default_factory=dict)
    release: str = "mc"
    _logs: int = 0
    _started: list[RunningRunner] = field(default_factory=list)

    def run(self, verb: str, source: str, target: str, **more: str) -> Outcome:
        """The runner, to its end."""
        environment = self._environment()
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            code = main(self._arguments(verb, source, target, more), environment)
        return _outcome(code, environment, output.getvalue())

    def of_plain_owner(self, role: str) -> "Plane":
        """The same database for a new role that has no right on the server but to make its own tables there."""
        self.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD '{role}'")
        name = self.value("SELECT current_database()")
        self.execute(f"GRANT ALL ON DATABASE {name} TO {role}; GRANT ALL ON SCHEMA public TO {role}")
        there = urlsplit(self.url)
        netloc = f"{role}:{role}@{there.hostname}:{there.port}"
        return Plane(there._replace(netloc=netloc).geturl(), self.folder)

    def done(self, verb: str, source: str, target: str, **more: str) -> dict[str, Any]:
        """The answer of a run that has to go well."""
        outcome = self.run(verb, source, target, **more)
        assert outcome.exit_code == 0, outcome.output
        return outcome.answer

    def asked(self, verb: str, source: str, target: str, **more: str) -> tuple[dict[str, str], list[str]]:
        """Environment and arguments of a run that the test starts by itself."""
        return self._environment(), self._arguments(verb, source, target, more)

    def start(self, verb: str, source: str, target: str, **more: str) -> RunningRunner:
        environment = self._environment()
        process = subprocess.Popen(
            [sys.executable, "-m", "migrator", *self._arguments(verb, source, target, more)],
            env={**environment, "PYTHONPATH": str(ROOT / "migrator"), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        runner = RunningRunner(process, Path(environment["TERMINATION_LOG"]))
        self._started.append(runner)
        return runner

    def end_runners(self) -> None:
        """Leave no process behind, whatever became of the test."""
        for runner in self._started:
            runner.kill()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield connection

    def value(self, query: str) -> Any:
        with self.connection() as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def execute(self, statement: str) -> None:
        with self.connection() as connection:
            connection.execute(statement.encode())

    def wait_for(self, query: str, holds: Callable[[Any], bool], what: str) -> Any:
        """Ask until the answer holds; for conditions that another process brings about."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self.connection() as connection:
            while time.monotonic() < deadline:
                row = connection.execute(query.encode()).fetchone()
                if row and holds(row[0]):
                    return row[0]
                connection.execute("SELECT pg_sleep(0.01)")
        pytest.fail(f"waited {_PATIENCE_SECONDS} s for {what}")

    def schema(self) -> list[tuple[Any, ...]]:
        """Columns, constraints, triggers and functions of the application, for comparison."""
        with self.connection() as connection:
            return connection.execute(
                """
                SELECT 'column', table_name || '.' || column_name,
                       data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
                FROM information_schema.columns WHERE table_schema = 'public'
                UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace
                UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
                    AND tgrelid::regclass::text NOT LIKE 'maestro%'
                UNION ALL SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
                ORDER BY 1, 2, 3
                """
            ).fetchall()

    def events(self) -> list[tuple[Any, ...]]:
        with self.connection() as connection:
            return connection.execute(
                "SELECT phase, event, version, state FROM maestro_conductor.events WHERE event <> 'batch' ORDER BY seq"
            ).fetchall()

    def write_files(self, files: Mapping[str, str]) -> None:
        """Migrations of the test's own, instead of mc's."""
        self.migrations = self.folder / "migrations"
        for name, text in files.items():
            path = self.migrations / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def _environment(self) -> dict[str, str]:
        self._logs += 1
        return {
            "DATABASE_URL": self.url,
            "TERMINATION_LOG": str(self.folder / f"termination-{self._logs}"),
            "MIGRATOR_MIGRATIONS": str(self.migrations),
            "MIGRATOR_CONNECT_SECONDS": "1",
            **self.settings,
        }

    def _arguments(self, verb: str, source: str, target: str, more: Mapping[str, str]) -> list[str]:
        given = {"upgrade": "u1", "attempt": "1", **more}
        accept = ["--accept-loss"] if given.pop("accept_loss", "") else []
        given = {"permit": f"{given['upgrade']}/contract", **given} if verb == "contract" else given
        options = [part for name, text in given.items() for part in (f"--{name.replace('_', '-')}", text)]
        return [
            verb, "--release", self.release, "--namespace", "prod", "--from", source, "--to", target,
            *options, *accept,
        ]  # fmt: skip


def _outcome(code: int, environment: Mapping[str, str], output: str) -> Outcome:
    written = Path(environment["TERMINATION_LOG"]).read_text()
    assert output.splitlines()[-1] == written, "the log's last line is the answer"
    assert len(written.encode()) <= 4096
    return Outcome(code, json.loads(written), output)
