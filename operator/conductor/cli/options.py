"""Options that every verb has, and how a verb gets at the cluster and at its output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TextIO

from conductor.cli.style import Style

OK = 0
FAILED = 1
USAGE = 2
NOT_UPGRADED = 3
TIMED_OUT = 4


class CommandError(Exception):
    """A verb that cannot be carried out: what is wrong, and the mend."""


class Releases(Protocol):
    """What the verbs need of the cluster."""

    namespace: str

    def get(self, name: str) -> dict[str, Any]: ...

    def releases(self, *, all_namespaces: bool = False) -> list[dict[str, Any]]: ...

    def annotate(self, name: str, annotations: dict[str, str]) -> dict[str, Any]: ...

    def config_maps(self, labels: str) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Terminal:
    """Where a verb writes to, and how that should look."""

    style: Style
    out: TextIO = sys.stdout

    def write(self, lines: Iterable[str]) -> None:
        self.out.write("".join(f"{line}\n" for line in lines))
        self.out.flush()

    def write_json(self, data: Any, *, compact: bool = False) -> None:
        self.write([json.dumps(data, sort_keys=True, indent=None if compact else 2)])

    @property
    def live(self) -> bool:
        return self.out.isatty()


def local_now() -> datetime:
    return datetime.now().astimezone()


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", help="namespace of the release (default: the context's)")
    parser.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    parser.add_argument("--json", action="store_true", help="answer with JSON")


def add_command(parser: argparse.ArgumentParser) -> None:
    """What the verbs have in common that ask the operator for something."""
    add_common(parser)
    parser.add_argument("name", metavar="RELEASE", help="name of the ControlPlaneRelease")
    parser.add_argument("--upgrade", metavar="ID", help="only if this upgrade is the one that is meant")
    parser.add_argument("--wait", action="store_true", help="watch until the release has come to rest")


def print_error(message: str, style: Style) -> None:
    print(f"{style.program}: {style.paint('bad', 'error:')} {message}", file=sys.stderr)
