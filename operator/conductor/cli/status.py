"""`status`: one release on one screen, or a line for each."""

from __future__ import annotations

import argparse

from conductor.cli.options import OK, CommandError, Releases, Terminal, add_common, local_now
from conductor.cli.render import list_lines, release_lines
from conductor.cli.view import read_release

HELP = "show one release, or a line for each"
DESCRIPTION = "Without a name: a line for each release of the namespace, or of all namespaces with -A."
JSON_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("name", metavar="RELEASE", nargs="?", help="name of the ControlPlaneRelease")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="releases of all namespaces")


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    if arguments.name and arguments.all_namespaces:
        raise CommandError("a release's name and -A exclude each other; name the namespace with -n")
    if arguments.name:
        item = releases.get(arguments.name)
        if arguments.json:
            out.write_json({key: item.get(key) for key in JSON_FIELDS})
        else:
            out.write(release_lines(read_release(item), local_now(), out.style))
        return OK
    items = releases.releases(all_namespaces=arguments.all_namespaces)
    if arguments.json:
        out.write_json([{key: item.get(key) for key in JSON_FIELDS} for item in items])
    else:
        out.write(list_lines([read_release(item) for item in items], out.style))
    return OK
