"""The command line `conductor`, also `kubectl mc`: one module per verb, and the way into them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol

from conductor.adapters.release_access import AccessError, ReleaseAccess
from conductor.cli import abort, approve, migrations, receipts, retry, rollback, status, watch
from conductor.cli.options import FAILED, USAGE, CommandError, Releases, Terminal, print_error
from conductor.cli.style import style_for


class Verb(Protocol):
    """What every verb's module offers."""

    HELP: str
    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int: ...


VERBS: dict[str, Verb] = {
    "status": status,
    "watch": watch,
    "rollback": rollback,
    "approve": approve,
    "abort": abort,
    "retry": retry,
    "receipts": receipts,
}


def program_name(called_as: str) -> str:
    """How the person called us: kubectl finds plugins by a file named kubectl-mc."""
    return "kubectl mc" if Path(called_as).name == "kubectl-mc" else "conductor"


def version() -> str:
    try:
        return metadata.version("maestro-conductor")
    except metadata.PackageNotFoundError:
        return "unknown (runs from source)"


def make_parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description="Watches and steers releases of Maestro Conductor."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in VERBS.items():
        module.add_arguments(verbs.add_parser(name, help=module.HELP, description=module.DESCRIPTION))
    # The one verb that looks at files and asks no cluster.
    migrations.add_arguments(
        verbs.add_parser("migrations", help=migrations.HELP, description=migrations.DESCRIPTION)
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    program = program_name(sys.argv[0])
    arguments = make_parser(program).parse_args(argv)
    try:
        if arguments.verb == "migrations":
            return migrations.run(arguments)
        releases = ReleaseAccess.connect(context=arguments.context, namespace=arguments.namespace)
        return VERBS[arguments.verb].run(
            arguments, releases, Terminal(style_for(sys.stdout, program), sys.stdout)
        )
    except (AccessError, CommandError) as error:
        print_error(str(error), style_for(sys.stderr, program))
        return USAGE if isinstance(error, CommandError) else FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone; the interpreter must not complain about it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
