"""`migrations`: looks at a folder of migrations before there is an image of them.

The work is the runner's own (`python -m migrator lint`), in a process of its own: the operator's image holds neither
the runner nor squawk, and the two packages know nothing of each other (docs/adr/0020).
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

from conductor.cli.options import CommandError

HELP = "lint a folder of migrations; needs no cluster"
DESCRIPTION = (
    "`migrations lint DIR` checks the SQL of every version by what its phase may do. With --dsn it also carries the "
    "files out on a scratch database of that server and compares the catalogue. Exit codes: 0 nothing that the runner "
    "would refuse, 1 findings, 2 not done. Other options: see docs/migrations-lint.md."
)
RUNNER = "migrator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # What follows is read by the runner's own parser, so that its options are told in one place.
    parser.add_argument("what", choices=["lint"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="DIR [OPTIONS]")


def run(arguments: argparse.Namespace) -> int:
    """The runner's exit code. Raises CommandError where the runner is not installed."""
    if importlib.util.find_spec(RUNNER) is None:
        raise CommandError(
            "the migration runner is not installed here; use its image, which has all of it: "
            "docker run --rm -v DIR:/migrations:ro MIGRATOR_IMAGE lint /migrations"
        )
    return subprocess.run(
        [sys.executable, "-m", RUNNER, arguments.what, *arguments.rest], check=False
    ).returncode
