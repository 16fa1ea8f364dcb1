"""`approve`: lets an upgrade go on that waits for a person."""

from __future__ import annotations

import argparse

from conductor.api.names import ANNOTATION_APPROVE
from conductor.cli.asking import Request, ask, check_id, release_named
from conductor.cli.options import CommandError, Releases, Terminal, add_command

HELP = "let an upgrade go on that waits for a person"
DESCRIPTION = (
    "Without a step it approves the one that the upgrade waits for. "
    "A step that is named may be approved ahead of time."
)
STEPS = ("switch", "contract")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_command(parser)
    parser.add_argument(
        "step", nargs="?", choices=STEPS, help="what is approved (default: what it waits for)"
    )


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    release = release_named(releases, arguments.name)
    name = f"{release.namespace}/{release.name}"
    if release.upgrade is None:
        raise CommandError(f"nothing to approve: no upgrade of {name} is under way ({release.phase})")
    check_id(release, release.upgrade, arguments.upgrade)
    step = arguments.step or release.awaits_approval
    if not step:
        raise CommandError(
            f"{name} does not wait for an approval ({release.phase}: {release.message or release.reason}); "
            f"to approve ahead of time, name the step: {' or '.join(STEPS)}"
        )
    request = Request(
        ANNOTATION_APPROVE,
        f"{release.upgrade.id}/{step}",
        f"approved the {step} of {release.upgrade.to_version} (upgrade {release.upgrade.id})",
    )
    return ask(releases, release, request, arguments, out)
