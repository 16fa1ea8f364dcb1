"""What the environment decides, read once. A wrong value names its variable and the mend."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


class SettingsError(Exception):
    """A variable is missing or cannot be used."""

    def __init__(self, variable: str, value: str | None, mend: str) -> None:
        found = "is not set" if value is None else f"is {value!r}"
        super().__init__(f"{variable} {found}: {mend}")


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str
    colour: str | None
    # Empty: every address, of both families.
    host: str
    port: int
    pool_size: int
    # A request is answered within this time, if need be with 503.
    deadline_seconds: float
    drain_seconds: float
    # A drain ends when no client is left and none has come for this long: node proxies learn late of a pod that
    # is leaving.
    drain_quiet_seconds: float
    # A keep-alive client that was silent for so long is closed in a drain without having been told.
    drain_idle_seconds: float
    traffic_file: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        colour = _colour(environment)
        return cls(
            database_url=_database_url(environment, colour),
            colour=colour,
            host=environment.get("MC_HOST", ""),
            port=int(_number(environment, "MC_PORT", 8080, lowest=0, highest=65535)),
            pool_size=int(_number(environment, "MC_POOL_SIZE", 5, lowest=1, highest=100)),
            deadline_seconds=_number(environment, "MC_DEADLINE_SECONDS", 8, lowest=0.1, highest=300),
            drain_seconds=_number(environment, "MC_DRAIN_SECONDS", 20, lowest=0, highest=3600),
            drain_quiet_seconds=_number(environment, "MC_DRAIN_QUIET_SECONDS", 2, lowest=0, highest=3600),
            drain_idle_seconds=_number(environment, "MC_DRAIN_IDLE_SECONDS", 10, lowest=0, highest=3600),
            traffic_file=Path(environment.get("MC_TRAFFIC_FILE") or "/etc/mc-traffic/current"),
        )


def _database_url(environment: Mapping[str, str], colour: str | None) -> str:
    # Each colour logs in with a role of its own where it has one, so that the one that went can be locked out.
    own = f"DATABASE_URL_{colour.upper()}" if colour else ""
    variable = own if own in environment else "DATABASE_URL"
    value = environment.get(variable)
    mend = "give the URL of the database, like postgresql://user:password@host:5432/name"
    if not value:
        raise SettingsError(variable, value, mend)
    if urlsplit(value).scheme not in {"postgresql", "postgres"}:
        # The value holds a password: only its scheme may be shown.
        raise SettingsError(variable, urlsplit(value).scheme + "://...", mend)
    return value


def _colour(environment: Mapping[str, str]) -> str | None:
    value = environment.get("MC_COLOUR", "")
    if value not in {"", "blue", "green"}:
        raise SettingsError("MC_COLOUR", value, "give blue or green, or leave it empty")
    return value or None


def _number(
    environment: Mapping[str, str], variable: str, default: float, *, lowest: float, highest: float
) -> float:
    value = environment.get(variable)
    if not value:
        return default
    mend = f"give a number from {lowest:g} to {highest:g}"
    try:
        number = float(value)
    except ValueError:
        raise SettingsError(variable, value, mend) from None
    if not lowest <= number <= highest:
        raise SettingsError(variable, value, mend)
    return number
