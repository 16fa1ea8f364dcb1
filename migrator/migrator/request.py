"""What one run is asked to do, read from its arguments."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from migrator.semver import Version
from migrator.stops import Reason, Refused

_LONGEST_PERMIT = 200


class Verb(StrEnum):
    INSPECT = "inspect"
    EXPAND = "expand"
    MIGRATE = "migrate"
    CONTRACT = "contract"
    BACKOUT = "backout"
    BARRIER = "barrier"


@dataclass(frozen=True)
class Logins:
    """Roles that the colours log in with. At expand the idle colour is the one that comes up, at contract the one
    that went. `serving` is empty where nothing serves yet."""

    idle: str
    serving: str


@dataclass(frozen=True)
class Request:
    """One verb for one attempt of one upgrade. Without `source` the release is being bootstrapped."""

    verb: Verb
    release: str
    namespace: str
    upgrade: str
    attempt: int
    source: Version | None
    target: Version
    accept_loss: bool = False
    permit: str = ""
    """to contract, from the operator; consumed once"""
    logins: Logins | None = None
    """None where the release names none: what the old version still holds open is unproven then"""
    ledger_line: int = 0
    """the newest line of the ledger that the release has heard of; 0 where it has heard of none"""

    @property
    def control_plane(self) -> str:
        return f"{self.namespace}/{self.release}"

    @property
    def bootstrap(self) -> bool:
        return self.source is None

    @property
    def source_text(self) -> str:
        return self.source.text if self.source else ""

    def covers(self, version: Version) -> bool:
        """Whether `version` lies in the range that this upgrade crosses: after `source`, up to `target`."""
        return (self.source is None or version > self.source) and version <= self.target


class _Arguments(argparse.ArgumentParser):
    """argparse would exit with 2, which the operator reads as worth retrying."""

    def error(self, message: str) -> NoReturn:
        raise Refused(Reason.ARGUMENT_INVALID, f"arguments: {message}", self.format_usage().strip())


def parse_request(arguments: Sequence[str]) -> Request:
    """Raise Refused where an argument is missing or wrong."""
    parser = _Arguments(
        prog="python -m migrator", description="Run one migration verb over a control plane's database."
    )
    parser.add_argument("verb", choices=[verb.value for verb in Verb])
    parser.add_argument("--release", required=True, help="name of the ControlPlaneRelease")
    parser.add_argument("--namespace", required=True, help="its namespace")
    parser.add_argument("--upgrade", required=True, help="id of the upgrade")
    parser.add_argument("--attempt", required=True, help="number of this attempt at the verb, from 1")
    parser.add_argument(
        "--from", dest="source", required=True, help='version that serves now; "" at bootstrap'
    )
    parser.add_argument("--to", dest="target", required=True, help="version to reach")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="backout only: drop the new shape although rows in it differ from the old one",
    )
    parser.add_argument("--permit", default="", help="contract only: the permit that the operator gave out")
    parser.add_argument(
        "--login-idle",
        default="",
        help="role of the colour that does not serve: expand opens it, contract fences it",
    )
    parser.add_argument("--login-serving", default="", help="role of the colour that serves")
    parser.add_argument(
        "--ledger-line",
        default="0",
        help="newest line of the ledger that the release knows of; it must be there",
    )
    parsed = parser.parse_args(list(arguments))
    for name in ("release", "namespace", "upgrade"):
        if not getattr(parsed, name).strip():
            raise Refused(
                Reason.ARGUMENT_INVALID, f"--{name} is empty", f"give the {name} that this Job works for"
            )
    request = Request(
        verb=Verb(parsed.verb),
        release=parsed.release,
        namespace=parsed.namespace,
        upgrade=parsed.upgrade,
        attempt=_number("--attempt", parsed.attempt, 1, 1_000_000),
        source=_version("--from", parsed.source) if parsed.source else None,
        target=_version("--to", parsed.target),
        accept_loss=parsed.accept_loss,
        permit=_permit(parsed.permit, parsed.upgrade),
        logins=_logins(parsed.login_idle, parsed.login_serving),
        ledger_line=_number("--ledger-line", parsed.ledger_line, 0, 2**63 - 1),
    )
    if request.verb is Verb.BACKOUT and request.bootstrap:
        raise Refused(
            Reason.ARGUMENT_INVALID,
            '--from "" with backout would take back the whole schema',
            "name the version that serves now in --from; a database of no further use is dropped by hand",
        )
    return request


def _number(field: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise Refused(
            Reason.ARGUMENT_INVALID, f"{field} {text!r} is not a number from {least}", "count from there"
        )
    return int(text)


def _logins(idle: str, serving: str) -> Logins | None:
    if serving and serving == idle:
        raise Refused(
            Reason.ARGUMENT_INVALID,
            f"--login-idle and --login-serving are both {idle!r}: a fence would cut off the version that serves",
            "give each colour a login role of its own",
        )
    return Logins(idle, serving) if idle else None


def _permit(text: str, upgrade: str) -> str:
    if text and (not text.startswith(f"{upgrade}/") or len(text) > _LONGEST_PERMIT):
        raise Refused(
            Reason.ARGUMENT_INVALID,
            f"--permit {text[:_LONGEST_PERMIT]!r} was not given to upgrade {upgrade}",
            f"a permit begins with the id of its upgrade and a slash, such as {upgrade}/contract",
        )
    return text


def _version(field: str, text: str) -> Version:
    try:
        return Version.parse(text)
    except ValueError as error:
        raise Refused(
            Reason.ARGUMENT_INVALID, f"{field}: {error}", "give a semantic version such as 1.1.0, without '+'"
        ) from error
