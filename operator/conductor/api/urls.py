"""Which URLs a release may name: the operator's allow-list, as patterns that people can read.

The chart turns the same patterns into regular expressions of its admission policy; both hold them
against the whole URL. What a name resolves to is looked at when the connection is made
(`conductor.adapters.outbound`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: As in the chart's values: a Service with prometheus in its name, in any namespace, on any port.
DEFAULT_PATTERNS = (
    "http://*prometheus*.*.svc:*",
    "https://*prometheus*.*.svc:*",
    "http://*prometheus*.*.svc.cluster.local:*",
    "https://*prometheus*.*.svc.cluster.local:*",
)
PATTERN = re.compile(r"^https?://[a-z0-9*][a-z0-9*.-]*(:([0-9]{1,5}|\*))?(/[A-Za-z0-9*._~-]+)*$")
#: Whatever the patterns say: this machine, cloud metadata, the API server; numbers are addresses in disguise.
FORBIDDEN = re.compile(
    r"(?i)^https?://((.*\.)?localhost|127\.[0-9.]*|0[0-9a-fx.]*|169\.254\.[0-9.]*|[0-9]+"
    r"|kubernetes(\.default(\.svc(\..*)?)?)?|metadata(\.google\.internal)?)\.?(:[0-9]*)?(/.*)?$"
)
_SHOWN = 4


#: NAMESPACE/NAME=http://HOST[:PORT]
_GATEWAY = re.compile(
    r"^(?P<key>[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?)="
    r"(?P<url>http://(?P<host>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)(:(?P<port>[0-9]{1,5}))?)$"
)


@dataclass(frozen=True)
class Place:
    """Where something is reached."""

    host: str
    port: int


def gateway_places(texts: Sequence[str]) -> dict[str, Place]:
    """Where Gateways are reached, by `namespace/name`. Raises ValueError that names an entry which does not say so."""
    found = {}
    for text in texts:
        read = _GATEWAY.fullmatch(text)
        if read is None or FORBIDDEN.match(read["url"]) or not 0 < (port := int(read["port"] or 80)) < 65536:
            raise ValueError(
                f"{text!r} does not say where a Gateway is reached; write NAMESPACE/NAME=http://HOST:PORT, like "
                "infra/edge=http://edge.infra.svc:80 (https is not asked, nor this machine, nor the API server)"
            )
        found[read["key"]] = Place(read["host"], port)
    return found


class UrlPatterns:
    """`*` stands for letters, digits and dashes within one part of a name or path; `:*` for any port or none."""

    def __init__(self, patterns: Sequence[str] = DEFAULT_PATTERNS) -> None:
        """Raises ValueError that names a pattern which is none."""
        for pattern in patterns:
            if not PATTERN.fullmatch(pattern):
                raise ValueError(
                    f"{pattern!r} is no pattern of a URL; write e.g. http://prometheus.monitoring.svc:9090"
                )
        self._patterns = tuple(patterns)
        self._allowed = tuple(re.compile(expression(pattern)) for pattern in patterns)

    def refusal(self, url: str) -> str | None:
        """Why this URL may not be asked, and what to do; None where it may."""
        if FORBIDDEN.match(url):
            return (
                "names this machine, a metadata service or the API server, which are never asked; name the Service "
                "of a Prometheus"
            )
        if any(pattern.fullmatch(url) for pattern in self._allowed):
            return None
        shown = ", ".join(self._patterns[:_SHOWN]) or "none"
        return (
            f"is not on this operator's list; use a URL like {shown}, or let an administrator add it to "
            "prometheus.allowedUrls of the operator's chart"
        )


def expression(pattern: str) -> str:
    """The regular expression of a pattern, in the common part of Python's and RE2's languages."""
    escaped = re.escape(pattern).replace(r":\*", "(:[0-9]{1,5})?").replace(r"\*", "[A-Za-z0-9-]*")
    return f"^{escaped}/?$"


#: What an operator without a list of its own goes by.
DEFAULT_URLS = UrlPatterns()
