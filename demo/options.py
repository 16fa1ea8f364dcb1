"""The command line of the demo, and what it settles for the whole run."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from conductor.cli.style import Style, style_for

RELEASE = "mc"
NARROWEST, WIDEST = 60, 80
_NAMESPACE = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")


@dataclass(frozen=True)
class Options:
    """What may be chosen. The standard is what `make demo` shows."""

    down: bool = False
    instance: str = ""
    namespace: str = "mc-demo"
    rows: int = 100_000
    rate: float = 300
    soak: str = "30s"
    keep_operator: bool = False
    as_json: bool = False

    @property
    def users(self) -> str:
        """How the namespaces of the load generator begin."""
        return f"{self.namespace}-users"


def parse_options(argv: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=("run", "down"), default="run", help="default: run")
    parser.add_argument("--instance", default=os.environ.get("MC_CLUSTER_INSTANCE", ""), metavar="NAME",
                        help="a local or kind cluster beside the default one")  # fmt: skip
    parser.add_argument("--namespace", default=Options.namespace, help="where mc runs (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=Options.rows, metavar="N",
                        help="rows for the migration to work on (default: %(default)s)")  # fmt: skip
    parser.add_argument("--rate", type=float, default=Options.rate, metavar="N",
                        help="requests/s of all 100 users together (default: %(default)s)")  # fmt: skip
    parser.add_argument("--soak", default=Options.soak, metavar="TIME",
                        help="soak, and window of the health verdict (default: %(default)s)")  # fmt: skip
    parser.add_argument("--keep-operator", action="store_true",
                        help="use the operator that is installed as it is")  # fmt: skip
    parser.add_argument("--json", action="store_true", dest="as_json",
                        help="the report as JSON on stdout; progress goes to stderr")  # fmt: skip
    given = parser.parse_args(argv)
    if not _NAMESPACE.fullmatch(given.namespace):
        parser.error(f"--namespace: {given.namespace!r} is no name; use lower-case letters, digits and -")
    if not 1_000 <= given.rows <= 5_000_000:
        parser.error(f"--rows: {given.rows} is not between 1,000 and 5,000,000")
    if not 50 <= given.rate <= 2_000:
        parser.error(f"--rate: {given.rate:g} is not between 50 and 2,000 requests/s")
    return Options(
        down=given.verb == "down",
        instance=given.instance,
        namespace=given.namespace,
        rows=given.rows,
        rate=given.rate,
        soak=given.soak,
        keep_operator=given.keep_operator,
        as_json=given.as_json,
    )


def style_of(stream: TextIO) -> Style:
    """The command line's own style, in a width that any terminal has."""
    found = style_for(stream, "conductor")
    return Style(found.colour, found.unicode, found.program, max(NARROWEST, min(WIDEST, found.width)))


def draws_on(stream: TextIO) -> bool:
    """Redraw only on a terminal, and not for those who ask for plain text."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
