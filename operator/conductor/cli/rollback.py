"""`rollback`: asks the operator to move traffic back to the former version."""

from __future__ import annotations

import argparse

from conductor.api.names import ANNOTATION_ROLLBACK
from conductor.cli.asking import Request, ask, check_id, release_named
from conductor.cli.options import CommandError, Releases, Terminal, add_command
from conductor.cli.view import Release, Upgrade

HELP = "move traffic back to the former version"
DESCRIPTION = (
    "Asks the operator to take the upgrade under way back: traffic first, everything else after. It can be asked "
    "for until the contract step has begun. Without an operator, use scripts/rollback.sh."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_command(parser)


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    release = release_named(releases, arguments.name)
    upgrade = reversible(release)
    check_id(release, upgrade, arguments.upgrade)
    request = Request(
        ANNOTATION_ROLLBACK,
        upgrade.id,
        f"asked to go back from {upgrade.to_version} to {upgrade.from_version} (upgrade {upgrade.id})",
        goes_back=True,
    )
    return ask(releases, release, request, arguments, out)


def reversible(release: Release) -> Upgrade:
    """The upgrade that can be rolled back, or why there is none."""
    name = f"{release.namespace}/{release.name}"
    if release.upgrade is None:
        kept = "set spec.rollbackTo to the hash of a kept revision to serve that one again"
        if release.last is not None and release.last.outcome in ("RolledBack", "Refused", "Aborted"):
            raise CommandError(
                f"nothing to roll back: upgrade {release.last.id} of {name} has already ended as "
                f"{release.last.outcome}, and {release.version} serves"
            )
        raise CommandError(f"nothing to roll back: no upgrade of {name} is under way; {kept}")
    if release.phase == "Contracting":
        raise CommandError(
            f"ContractCommitted: upgrade {release.upgrade.id} of {name} is past the point where the former version "
            "could serve; go forward: mend what the contract step reports and use `retry`, or upgrade to a version "
            "that mends the fault"
        )
    if not release.upgrade.from_version:
        raise CommandError(
            f"nothing to roll back: {name} is being installed for the first time; delete the release, or mend its spec"
        )
    return release.upgrade
