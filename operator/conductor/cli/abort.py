"""`abort`: asks the operator to give up the upgrade under way."""

from __future__ import annotations

import argparse

from conductor.api.names import ANNOTATION_ABORT
from conductor.cli.asking import Request, ask, check_id, release_named
from conductor.cli.options import CommandError, Releases, Terminal, add_command

HELP = "give up the upgrade under way"
DESCRIPTION = (
    "Asks the operator to give the upgrade up and to remove the candidate. After the switch this moves traffic back "
    "as `rollback` does."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_command(parser)


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    release = release_named(releases, arguments.name)
    name = f"{release.namespace}/{release.name}"
    if release.upgrade is None:
        raise CommandError(f"nothing to abort: no upgrade of {name} is under way ({release.phase})")
    if release.phase == "Contracting":
        raise CommandError(
            f"ContractCommitted: upgrade {release.upgrade.id} of {name} can only go forward; mend what the contract "
            "step reports and use `retry`"
        )
    check_id(release, release.upgrade, arguments.upgrade)
    request = Request(
        ANNOTATION_ABORT,
        release.upgrade.id,
        f"asked to give up {release.upgrade.to_version} (upgrade {release.upgrade.id})",
        goes_back=True,
    )
    return ask(releases, release, request, arguments, out)
