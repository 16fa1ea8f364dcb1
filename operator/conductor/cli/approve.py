"""`approve`: lets an upgrade go on that waits for a person."""

from __future__ import annotations

import argparse

from conductor.api.names import ANNOTATION_APPROVE
from conductor.cli.asking import Request, ask, check_id, release_named
from conductor.cli.options import CommandError, Releases, Terminal, add_command
from conductor.cli.view import CONTRACT_WAITS, Pending, Release, Upgrade

HELP = "let an upgrade go on that waits for a person"
DESCRIPTION = (
    "Without a step it approves the one that the upgrade waits for. "
    "A step that is named may be approved ahead of time; a contract step that was left for later is approved by its "
    "name only. `stay` and `keep-expanded` are ways out for an upgrade that is taken back and cannot go on."
)
AHEAD = ("switch", "contract")
STEPS = (*AHEAD, "stay", "keep-expanded", "backout", "accept-loss")
#: What a release at rest lets one do about a schema that stays, by the state in which that is.
OF_BACKOUT = {"Pending": "backout", "Failed": "accept-loss"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_command(parser)
    parser.add_argument(
        "step", nargs="?", choices=STEPS, help="what is approved (default: what it waits for)"
    )


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    release = release_named(releases, arguments.name)
    meant, step = what_waits(release, arguments.step)
    check_id(release, meant, arguments.upgrade)
    request = Request(
        ANNOTATION_APPROVE,
        f"{meant.id}/{step}",
        f"approved the {step} of {meant.to_version} (upgrade {meant.id})",
    )
    return ask(releases, release, request, arguments, out)


def what_waits(release: Release, step: str | None) -> tuple[Upgrade | Pending, str]:
    """Whose step is approved, and which."""
    name = f"{release.namespace}/{release.name}"
    said = f"{release.phase}: {release.message or release.reason}"
    pending = release.pending if release.pending is not None and release.pending.state == "Pending" else None
    if pending is not None and (release.upgrade is None or release.reason in CONTRACT_WAITS):
        if step == "contract" or (step is None and release.awaits_approval):
            return pending, "contract"
        if release.upgrade is None:
            raise CommandError(
                f"{name}: the contract step of {pending.to_version} is left for later, and there is no way back after "
                "it; to run it now, name it: contract"
            )
    kept = release.kept_schema
    if release.upgrade is None and kept is not None and step and step == OF_BACKOUT.get(kept.state):
        return kept, step
    if release.upgrade is None:
        raise CommandError(f"nothing to approve: no upgrade of {name} is under way ({release.phase})")
    step = step or release.awaits_approval
    if not step:
        raise CommandError(
            f"{name} does not wait for an approval ({said}); to approve ahead of time, name the step: "
            f"{' or '.join(AHEAD)}"
        )
    loses = step == "accept-loss" and release.way_out == "keep-expanded"
    if step not in AHEAD and step != release.way_out and not loses:
        raise CommandError(f"{step} is no way out of what {name} is in ({said}); look at `status`")
    return release.upgrade, step
