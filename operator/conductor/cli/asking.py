"""How a verb asks the operator for something: a command annotation bound to one upgrade's id."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from conductor.cli.options import NOT_UPGRADED, OK, CommandError, Releases, Terminal
from conductor.cli.view import FAILED_OUTCOMES, Pending, Release, Upgrade, read_release
from conductor.cli.watch import exit_code, follow


@dataclass(frozen=True)
class Request:
    """A command annotation, and the sentence that says what it asks for."""

    annotation: str
    value: str
    said: str
    #: True where coming back to the former version is what was asked for.
    goes_back: bool = False


def release_named(releases: Releases, name: str) -> Release:
    return read_release(releases.get(name))


def check_id(release: Release, meant: Upgrade | Pending, given: str | None) -> None:
    """Refuses a command that was meant for another upgrade than the one it would reach."""
    if given is None or given == meant.id:
        return
    raise CommandError(
        f"--upgrade {given!r} is not the upgrade of {release.namespace}/{release.name}: that is {meant.id!r} "
        f"({meant.from_version or 'none'} to {meant.to_version}); look at `status`, then repeat with that id"
    )


def ask(
    releases: Releases, release: Release, request: Request, arguments: argparse.Namespace, out: Terminal
) -> int:
    releases.annotate(release.name, {request.annotation: request.value})
    if arguments.json:
        out.write_json(
            {
                "namespace": release.namespace,
                "name": release.name,
                "annotation": request.annotation,
                "value": request.value,
            },
            compact=arguments.wait,
        )
    else:
        out.write([f"{out.style.mark('good')} {release.namespace}/{release.name}: {request.said}"])
    if not arguments.wait:
        return OK
    rested = follow(releases, release.name, out, as_json=arguments.json, commanded=release)
    assert rested is not None
    if request.goes_back:
        went_back = rested.last is not None and rested.last.outcome in FAILED_OUTCOMES
        return OK if went_back else NOT_UPGRADED
    return exit_code(rested)
