"""DATABASE_URL: the one place that reads it. No message made here, or passed through `Redactor`, shows the
password."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, urlencode

from psycopg import Error, conninfo

from migrator.stops import Reason, Refused, TryAgain

ALLOWED_PARAMETERS = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "password",
        "port",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "user",
    }
)

_WHERE_TO_SET = "set it in the Secret that spec.migrations.databaseSecretRef names"
_EXAMPLE = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True)
class Redactor:
    """Takes a password out of whatever text a library hands us."""

    secrets: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        # A URL with user info that reached a message by another way than the parsed password.
        return re.sub(r"(://[^\s:/@]*):[^\s@]*@", r"\1:***@", text)


@dataclass(frozen=True, repr=False)
class Dsn:
    """A connection that was asked for, checked."""

    parameters: dict[str, str]
    redact: Redactor

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "the local socket"
        return f"{host}:{self.parameters.get('port', '5432')}/{self.parameters.get('dbname', '')}"


def url_of(dsn: Dsn) -> str:
    """The same connection as a URL, for programs that read one; it holds the password."""
    rest = dict(dsn.parameters)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    given = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    host, port, name = rest.pop("host", ""), rest.pop("port", ""), rest.pop("dbname", "")
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    more = f"?{urlencode(rest)}" if rest else ""
    return f"postgresql://{given}{'@' if given else ''}{place}{':' + port if port else ''}/{quote(name, safe='')}{more}"


def parse_dsn(text: str, name: str = "DATABASE_URL") -> Dsn:
    """`name` is that of the variable it came in.

    Raise TryAgain where it is missing (a Secret may come late), Refused where it can never work.
    """
    if not text.strip():
        raise TryAgain(
            Reason.DATABASE_URL_MISSING,
            f"environment: {name} is not set",
            f"{_WHERE_TO_SET}, as {_EXAMPLE}",
        )
    text = text.strip()
    _check_scheme(text, name)
    try:
        parameters = {
            key: str(value) for key, value in conninfo.conninfo_to_dict(text).items() if value is not None
        }
    except Error:
        # libpq quotes what it could not read, which may be a part of the password.
        raise Refused(
            Reason.DATABASE_URL_INVALID,
            f"{name} is not a URL that PostgreSQL's client library can read",
            f"write it as {_EXAMPLE}; percent-encode special characters in user and password",
        ) from None
    foreign = sorted(parameters.keys() - ALLOWED_PARAMETERS)
    if foreign:
        raise Refused(
            Reason.DATABASE_URL_INVALID,
            f"{name}: parameter {foreign[0]!r} is not allowed",
            f"take it out; allowed are {', '.join(sorted(ALLOWED_PARAMETERS))}. "
            "Defaults such as search_path belong to the role: ALTER ROLE ... SET search_path = ...",
        )
    for needed in ("host", "dbname"):
        if not parameters.get(needed):
            raise Refused(
                Reason.DATABASE_URL_INVALID, f"{name}: {needed} is missing", f"write it as {_EXAMPLE}"
            )
    return Dsn(parameters, redactor_for(parameters.get("password", "")))


def redactor_for(password: str) -> Redactor:
    forms = {password, quote(password, safe=""), quote(password), quote_plus(password)} - {""}
    return Redactor(tuple(sorted(forms, key=len, reverse=True)))


def redactor_of(dsns: Iterable[Dsn]) -> Redactor:
    """Of the passwords of all."""
    secrets = {secret for dsn in dsns for secret in dsn.redact.secrets}
    return Redactor(tuple(sorted(secrets, key=len, reverse=True)))


def _check_scheme(text: str, name: str) -> None:
    scheme, separator, _ = text.partition("://")
    # Without a separator the whole text would be quoted as the scheme, password and all.
    scheme = scheme.lower() if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) else ""
    if scheme in ("postgresql", "postgres"):
        return
    dialect, plus, driver = scheme.partition("+")
    if plus and dialect in ("postgresql", "postgres"):
        raise Refused(
            Reason.DATABASE_URL_INVALID,
            f"{name}: scheme {scheme!r} names a driver of another library",
            f"leave out '+{driver}': {_EXAMPLE}",
        )
    if scheme:
        raise Refused(
            Reason.ENGINE_UNSUPPORTED,
            f"{name}: scheme {scheme!r} is not PostgreSQL",
            f"this runner speaks to PostgreSQL only ({_EXAMPLE}); "
            "for another engine give an image of your own in spec.migrations.image",
        )
    raise Refused(Reason.DATABASE_URL_INVALID, f"{name} is not a URL", f"write it as {_EXAMPLE}")
