"""`make bench-migrations`: how long expand, backfill and contract of mc's 1.1.0 keep writers and readers waiting,
carried out by the runner and, in the same run, by a script as a person would write it.

A PostgreSQL primary and a streaming standby are started on loopback, with mc 1.0.0's table of ten million rows. Each
repeat works on fresh copies of it. What is done is kept (bench/results/migrations.checkpoint.json and the folder): a
run that breaks off goes on there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from tests.migrator.server import Server

from measure import RESULTS, circumstances
from scenarios import database_pair
from scenarios.blocking import Window, felt
from scenarios.checkpoint import Checkpoint
from scenarios.clients import REPORT, Clients, Sample, Shapes, Users
from scenarios.database_pair import Pair
from scenarios.migrations_report import Report

ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "controlplane" / "migrations"
CHECKPOINT = RESULTS / "migrations.checkpoint.json"
FOLDER = Path(tempfile.gettempdir()) / "maestro-conductor-bench-migrations"
PRISTINE = "pristine"
#: After a phase: the standby replays it, and what queued behind it is let go.
SETTLE_SECONDS = 2.0
#: Measured on two cores; for what is said beforehand only.
BUILD_ROWS_PER_SECOND, REPEAT_ROWS_PER_SECOND = 45_000, 9_000

#: In one go, with what psql -1 -f would run: the new columns, all rows, the old column away.
NAIVE = """
BEGIN;
ALTER TABLE executions ADD COLUMN owner_name text NOT NULL DEFAULT '', ADD COLUMN owner_email text NOT NULL DEFAULT '';
UPDATE executions SET
    owner_name = coalesce((regexp_match(owner, '^(.+) <([^<>]+)>$'))[1], owner),
    owner_email = coalesce((regexp_match(owner, '^(.+) <([^<>]+)>$'))[2], '');
ALTER TABLE executions DROP COLUMN owner;
COMMIT;
"""
_BATCHES = """
SELECT extract(epoch FROM max(committed_at) - min(committed_at))::float8, max(rows_done) - min(rows_done), count(*)
FROM maestro_conductor.events WHERE event = 'batch'
"""
_REPORT_BEGAN = """
SELECT 1 FROM pg_stat_activity
WHERE application_name = %s AND datname = current_database() AND state = 'idle in transaction'
  AND xact_start > now() - interval '200 ms'
"""

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    rows: int
    repeats: int
    writers: int
    readers: int
    think_seconds: float
    report_seconds: float
    report_on_standby: bool
    rest_seconds: float


class PhaseFailedError(Exception):
    """The runner ended otherwise than with 0."""


class Bench:
    def __init__(self, options: Options, pair: Pair, done: Checkpoint, folder: Path) -> None:
        self.options = options
        self.pair = pair
        self.done = done
        self.folder = folder

    def run(self) -> None:
        for number in range(1, self.options.repeats + 1):
            for name, measure in (("runner", self._by_runner), ("naive", self._by_script)):
                self._part(f"{number}/{name}", partial(self._on_a_copy, measure))

    def _part(self, name: str, measure: Callable[[], Json]) -> None:
        known = name in self.done.parts
        began = time.monotonic()
        self.done.part(name, measure)
        say(f"{name}: " + ("done before" if known else f"{time.monotonic() - began:.0f} s"))

    def _on_a_copy(self, measure: Callable[[str], Json]) -> Json:
        self.pair.drop("upgraded")
        self.pair.copy(PRISTINE, "upgraded")
        try:
            return measure("upgraded")
        finally:
            self.pair.drop("upgraded")

    def _by_runner(self, database: str) -> Json:
        windows: list[Window] = []
        clients = Clients(self._users(database))
        with self._phase(windows, "at rest"):
            time.sleep(self.options.rest_seconds)
        self._await_report(database)
        with self._phase(windows, "expand"):
            expanded = self._verb("expand", database)
        clients.know(Shapes.BOTH)
        with self._phase(windows, "migrate"):
            answer = self._verb("migrate", database)
        clients.know(Shapes.NEW)
        self._await_report(database)
        with self._phase(windows, "contract"):
            contracted = self._verb("contract", database)
        return {
            **self._found(clients.end(), windows),
            "backfill": self._backfill(database, answer),
            "lockNotGranted": {
                "expand": expanded["notGranted"],
                "migrate": answer["notGranted"],
                "contract": contracted["notGranted"],
            },
        }

    def _by_script(self, database: str) -> Json:
        windows: list[Window] = []
        clients = Clients(self._users(database))
        with self._phase(windows, "at rest"):
            time.sleep(self.options.rest_seconds)
        self._await_report(database)
        with self._phase(windows, "naive script"):
            with psycopg.connect(self.pair.primary.url(database), autocommit=True) as connection:
                connection.execute(NAIVE.encode())
            # The new version follows at once: what still fails, fails because nothing held the old one's shape.
            clients.know(Shapes.NEW)
        return self._found(clients.end(), windows)

    def _await_report(self, database: str) -> None:
        """What asks for a strong lock begins while a long transaction is under way, every time."""
        if not self.options.report_seconds:
            return
        with psycopg.connect(self.pair.primary.url(database), autocommit=True) as connection:
            while not connection.execute(_REPORT_BEGAN, (REPORT,)).fetchone():
                connection.execute("SELECT pg_sleep(0.02)")

    @contextmanager
    def _phase(self, windows: list[Window], name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.pair.caught_up()
        time.sleep(SETTLE_SECONDS)
        windows.append(Window(name, began, time.monotonic()))
        say(f"  {name}: {took:.1f} s")

    def _found(self, samples: list[Sample], windows: list[Window]) -> Json:
        return {"phases": felt(samples, windows)}

    def _users(self, database: str) -> Users:
        options = self.options
        return Users(
            primary=self.pair.primary.url(database),
            standby=self.pair.standby.url(database),
            rows=options.rows,
            writers=options.writers,
            readers=options.readers,
            standby_readers=options.readers,
            think_seconds=options.think_seconds,
            report_seconds=options.report_seconds,
            report_on_standby=options.report_on_standby,
        )

    def _verb(self, verb: str, database: str) -> Json:
        """The runner, as a Job has it: a process of its own, its settings the defaults, the standby named."""
        answer = self.folder / "answer"
        arguments = ["--release", "mc", "--namespace", "bench", "--upgrade", "u1", "--attempt", "1",
                     "--from", "1.0.0", "--to", "1.1.0"]  # fmt: skip
        permit = ["--permit", "u1/contract"] if verb == "contract" else []
        ended = subprocess.run(
            [sys.executable, "-m", "migrator", verb, *arguments, *permit],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT / "migrator"),
                "DATABASE_URL": self.pair.primary.url(database),
                "REPLICA_URL_1": self.pair.standby.url(database),
                "TERMINATION_LOG": str(answer),
                "MIGRATOR_MIGRATIONS": str(MIGRATIONS),
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if ended.returncode:
            raise PhaseFailedError(f"{verb} ended with {ended.returncode}:\n{ended.stdout[-2000:]}")
        found: Json = json.loads(answer.read_text())
        found["notGranted"] = ended.stdout.count("not granted, trying again")
        return found

    def _backfill(self, database: str, answer: Json) -> Json:
        with psycopg.connect(self.pair.primary.url(database)) as connection:
            row = connection.execute(_BATCHES.encode()).fetchone()
        assert row is not None
        seconds, rows, batches = row
        return {
            "rows": answer["rowsDone"],
            "batches": batches,
            "seconds": round(seconds, 1),
            "rowsPerSecond": round(rows / seconds) if seconds else 0,
            "divergence": answer["divergence"],
        }


def build(primary: Server, options: Options) -> None:
    """Under another name until it is whole: what a run that broke off left half-made is made again."""
    if database_pair.has_database(primary, PRISTINE):
        say("the table is there from before")
        return
    began = time.monotonic()
    with primary.connect() as connection:
        connection.execute("DROP DATABASE IF EXISTS filling WITH (FORCE)")
        connection.execute("CREATE DATABASE filling")
    with psycopg.connect(primary.url("filling"), autocommit=True) as connection:
        connection.execute((MIGRATIONS / "1.0.0" / "expand.sql").read_bytes())
    database_pair.fill(primary, "filling", options.rows)
    with primary.connect() as connection:
        connection.execute(f"ALTER DATABASE filling RENAME TO {PRISTINE}")
    say(f"{options.rows:,} rows made in {time.monotonic() - began:.0f} s")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def parse(argv: Sequence[str] | None) -> tuple[Options, Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=1, help="of both ways, each on a fresh copy")
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--readers", type=int, default=10, help="on the primary, and as many on the standby")
    parser.add_argument("--think-seconds", type=float, default=0.1, help="between answer and next request")
    parser.add_argument(
        "--report-seconds",
        type=float,
        default=2.0,
        help="how long the long transactions last that a lock waits behind",
    )
    parser.add_argument("--report-on-standby", action="store_true", help="one of them there too")
    parser.add_argument("--rest-seconds", type=float, default=10.0, help="looked at before anything is done")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="for the servers' data: 2 kB a row, gone at the end"
    )
    settings = vars(parser.parse_args(argv))
    folder: Path = settings.pop("folder")
    return Options(**settings), folder


def main(argv: Sequence[str] | None = None) -> int:
    options, folder = parse(argv)
    seconds = options.rows / BUILD_ROWS_PER_SECOND + options.repeats * (
        options.rows / REPEAT_ROWS_PER_SECOND + 60
    )
    say(
        f"{options.rows:,} rows, {options.repeats} repeats: about {seconds / 60:.0f} minutes on two quiet cores, "
        f"{options.rows * 2 / 1e6:.1f} GB in {folder}"
    )
    settings = {**asdict(options), "folder": str(folder)}
    done = Checkpoint(CHECKPOINT, settings)
    around = done.part("circumstances", circumstances)
    folder.mkdir(parents=True, exist_ok=True)
    with database_pair.primary_at(folder, options.rows) as primary:
        build(primary, options)
        with database_pair.followed(primary, folder) as pair:
            Bench(options, pair, done, folder).run()
    report = Report(options.repeats, done.parts)
    path = RESULTS / "migrations.json"
    document = {
        "benchmark": "migrations",
        **around,
        "loadAverageAfter": os.getloadavg()[0],
        "options": asdict(options),
        "parts": {name: part for name, part in done.parts.items() if name != "circumstances"},
        "ratios": report.ratios(),
        "broken": report.broken(),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    done.finished()
    shutil.rmtree(folder)
    print("\n".join(["", *report.lines(), ""]))
    for fault in report.broken():
        print(f"NOT AS PROMISED: {fault}")
    print(f"written to {path}")
    return 1 if report.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
