"""Two components of podinfo, of which the front calls the back: one answer tells the versions of both.

The front's `/echo` calls the back's `/headers`, in whose answer podinfo writes its own version; the front's own stands
in `X-Color`, which is what it is started with.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from conductor.api import names
from harness import podinfo
from harness.load_run import LoadPlan
from harness.load_summary import LoadSummary
from harness.podinfo import PodinfoOptions

NAME = "pair"
FRONT, BACK = "front", "back"
#: Within a JSON string within JSON.
VERSION_OF_BACK = r'X-Api-Version\\": \[\\n *\\"([0-9.]+)'
#: Fewer verification requests than in production: how sure a verdict is, is not the matter here.
_MISS_RATE = 0.05


@dataclass(frozen=True)
class Mixed:
    """Transactions whose answer told two versions; the times of the first and of the last, where there were any."""

    count: int
    first: datetime | None
    last: datetime | None

    @property
    def seconds(self) -> float:
        return (self.last - self.first).total_seconds() if self.first and self.last else 0.0


def release_spec(version: str, options: PodinfoOptions, *, strict: bool, route: str = "") -> dict[str, Any]:
    """The whole `spec`; not `strict`: the front calls the back by its plain Service, as most would.

    `route`: the HTTPRoute that is the edge, where the Service of the front is not.
    """
    spec = podinfo.release_spec(version, options)
    [back] = spec["components"]
    front = copy.deepcopy(back)
    for component, name in ((back, BACK), (front, FRONT)):
        component["name"] = component["services"][0]["name"] = name
        component["template"]["metadata"]["labels"] = {"app": name}
    container = front["template"]["spec"]["containers"][0]
    called = BACK
    if strict:
        field = {"fieldRef": {"fieldPath": f"metadata.labels['{names.LABEL_COLOUR}']"}}
        container["env"] = [{"name": "COLOUR", "valueFrom": field}]
        called = f"{BACK}-$(COLOUR)"
        edge = {"provider": "GatewayAPI", "routes": [{"name": route}]} if route else {"edge": FRONT}
        spec["traffic"] |= {"consistency": "Strict", **edge}
    container["args"] += [f"--backend-url=http://{called}/headers", f"--ui-color={version}"]
    spec["components"] = [front, back]
    spec["traffic"]["switchHealth"]["missRate"] = _MISS_RATE
    of_back = spec["verification"]["http"][0] | {"component": BACK, "service": BACK}
    of_front = {
        "component": FRONT,
        "service": FRONT,
        "port": "http",
        "path": "/echo",
        "versionHeader": "X-Color",
    }
    spec["verification"]["http"] = [of_front, of_back]
    return spec


def load_plan(namespace: str, **changes: Any) -> LoadPlan:
    """Clients of the front; what is counted as a version is the pair that an answer told, as `6.9.0+6.9.1`."""
    url = f"http://{FRONT}.{namespace}.svc.cluster.local/echo"
    told = {"version_header": "X-Color", "version_pattern": VERSION_OF_BACK}
    return LoadPlan(**{"url": url, **told, **changes})


def both(version: str) -> str:
    """What an answer tells that came through one version."""
    return f"{version}+{version}"


def mixed(summary: LoadSummary) -> Mixed:
    """Answers of one version at the front and another one behind it."""
    found = [
        report
        for pair, report in summary.versions.items()
        if len(versions := pair.split("+")) == 2 and versions[0] != versions[1]
    ]
    answers = [seen for report in found for seen in report.by_client.values()]
    return Mixed(
        sum(report.answers for report in found),
        min((seen.first for seen in answers), default=None),
        max((seen.last for seen in answers), default=None),
    )


def incomplete(summary: LoadSummary) -> int:
    """Answers of a front to which no back had answered."""
    return sum(report.answers for pair, report in summary.versions.items() if "+" not in pair)
