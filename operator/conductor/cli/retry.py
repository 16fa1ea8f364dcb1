"""`retry`: asks the operator to try once more what has failed."""

from __future__ import annotations

import argparse

from conductor.api.names import ANNOTATION_RETRY
from conductor.cli.asking import Request, ask, check_id, release_named
from conductor.cli.options import CommandError, Releases, Terminal, add_command
from conductor.cli.view import FAILED_OUTCOMES, Pending, Release, Upgrade

HELP = "try once more what has failed"
DESCRIPTION = (
    "A failed version is not tried again until its spec changes, or until this is asked for. While the contract or "
    "the backout step of an upgrade is stuck, it asks for another attempt at that step; while somebody else keeps "
    "pointing a Service elsewhere, it says that this is settled."
)
#: Phases whose Job a person lets run again, and the verb of that Job.
STUCK_VERBS = {"Contracting": "contract", "BackingOut": "backout"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_command(parser)


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    release = release_named(releases, arguments.name)
    upgrade, value, said = what_failed(release)
    check_id(release, upgrade, arguments.upgrade)
    return ask(releases, release, Request(ANNOTATION_RETRY, value, said), arguments, out)


def what_failed(release: Release) -> tuple[Upgrade | Pending, str, str]:
    """The upgrade that is tried again, the annotation's value, and what to say."""
    name = f"{release.namespace}/{release.name}"
    known = release.upgrade or release.last
    if known is not None and release.stalled and release.reason == "TrafficRevertedByOthers":
        value = f"{known.id}/traffic/{release.reversions}"
        return known, value, "asked to point the Services back once more"
    pending = release.pending
    if release.upgrade is None and pending is not None and release.reason == "ContractFailed":
        value = f"{pending.id}/contract/{pending.attempt}"
        return pending, value, f"asked for another attempt at contract (upgrade {pending.id})"
    kept = release.kept_schema
    if release.upgrade is None and kept is not None and release.reason == "BackoutFailed":
        value = f"{kept.id}/backout/{kept.attempt}"
        return kept, value, f"asked for another attempt at backout (upgrade {kept.id})"
    if release.upgrade is not None:
        verb = STUCK_VERBS.get(release.phase)
        if verb is None or not release.stalled:
            raise CommandError(
                f"nothing to retry: upgrade {release.upgrade.id} of {name} is under way ({release.phase}); `watch` it"
            )
        value = f"{release.upgrade.id}/{verb}/{release.upgrade.attempt}"
        return release.upgrade, value, f"asked for another attempt at {verb} (upgrade {release.upgrade.id})"
    if release.last is None or release.last.outcome not in FAILED_OUTCOMES:
        raise CommandError(
            f"nothing to retry: no upgrade of {name} has failed, {release.version or 'nothing'} serves"
        )
    if not release.stalled:
        raise CommandError(
            f"nothing to retry: the spec of {name} asks for {release.target}, which is not what failed "
            f"({release.last.to_version}); the operator tries a changed spec by itself"
        )
    return (
        release.last,
        release.last.id,
        f"asked to try {release.last.to_version} again (after {release.last.id})",
    )
