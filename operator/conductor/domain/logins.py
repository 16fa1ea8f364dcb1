"""Login roles, one per colour: which one a Job opens or fences, and why a fence would prove nothing.

A role proves something about a version only where that version was recorded with it: what logged in otherwise before
the roles were declared is not seen by fencing one of them.
"""

from dataclasses import dataclass

from conductor.api.spec import Colour, Logins, Migrations
from conductor.api.status import UpgradeStatus
from conductor.domain.revision import Revision


@dataclass(frozen=True)
class LoginPair:
    """Roles by what their colours do while a Job runs. `serving` is empty where nothing serves yet."""

    idle: str
    serving: str = ""


def role_of(logins: Logins | None, colour: Colour | None) -> str:
    """The role that pods of that colour log in with; empty where none was declared."""
    return getattr(logins, colour.value) if logins is not None and colour is not None else ""


def declared(revision: Revision | None, colour: Colour | None) -> str:
    """The same for a version as it was recorded. What was adopted logs in as it did before."""
    if revision is None or revision.adopted is not None or revision.spec.migrations is None:
        return ""
    return role_of(revision.spec.migrations.logins, colour)


def to_open(migrations: Migrations, upgrade: UpgradeStatus, active: Revision | None) -> LoginPair | None:
    """What the expand step makes ready for the candidate; None where no roles are declared."""
    idle = role_of(migrations.logins, upgrade.to_colour)
    if not idle:
        return None
    serving = declared(active, upgrade.from_colour)
    return LoginPair(idle, serving if serving != idle else "")


def to_fence(old: str, serving: str) -> LoginPair | None:
    """What the contract step fences and proves; None where that would prove nothing, or hit what serves."""
    return LoginPair(old, serving) if old and serving and old != serving else None


def unproven(version: str, old: str, serving: str) -> str:
    """Why sessions of `version` cannot be proven to be gone, and what to do about it next time."""
    if old and old == serving:
        why = f"{old}, its login, is also that of what serves now"
    elif serving:
        why = f"spec.migrations.logins did not stand there yet when {version} was installed"
    else:
        why = "spec.migrations.logins names no login role per colour"
    return (
        f"that no session of {version} is left is not proven, because {why}; see in pg_stat_activity and "
        "pg_prepared_xacts, on replicas too, that none is"
    )
