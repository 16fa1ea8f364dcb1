"""What a chart grants to a service account, read from its rendered roles, and how that compares with what was used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource; `resource` holds the subresource as well: controlplanereleases/status."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


class Used(Protocol):
    """A right as it was used; an empty namespace means across the whole cluster."""

    @property
    def right(self) -> Right: ...

    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, order=True)
class Grant:
    """One right as it is granted; an empty namespace means everywhere, no names mean all of them."""

    right: Right
    namespace: str
    names: tuple[str, ...] = ()

    def covers(self, use: Used) -> bool:
        return (
            self.right == use.right
            and self.namespace in ("", use.namespace)
            and (not self.names or use.name in self.names)
        )

    def __str__(self) -> str:
        only = f" named {', '.join(self.names)}" if self.names else ""
        return f"{self.right}{only} " + (f"in namespace {self.namespace}" if self.namespace else "everywhere")


def granted(objects: Iterable[dict[str, Any]], account: str, namespace: str) -> frozenset[Grant]:
    """What the rendered roles give to a service account by their bindings."""
    objects = list(objects)
    roles = {_key(item): item for item in objects if item["kind"] in ("Role", "ClusterRole")}
    found: set[Grant] = set()
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        if subject not in binding["subjects"]:
            continue
        inside = binding["metadata"].get("namespace", "")
        reference = binding["roleRef"]
        role = roles[reference["kind"], inside if reference["kind"] == "Role" else "", reference["name"]]
        found.update(Grant(right, inside, names) for right, names in _rights(role))
    return frozenset(found)


def beyond(grants: Collection[Grant], uses: Iterable[Used]) -> list[str]:
    """What was used and is granted by nothing, in words."""
    return sorted({str(use) for use in uses if not any(grant.covers(use) for grant in grants)})


def unused(grants: Iterable[Grant], uses: Collection[Used]) -> list[str]:
    """What is granted and was never used, in words."""
    return sorted(str(grant) for grant in grants if not any(grant.covers(use) for use in uses))


def _key(role: dict[str, Any]) -> tuple[str, str, str]:
    return role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"]


def _rights(role: dict[str, Any]) -> Iterator[tuple[Right, tuple[str, ...]]]:
    for rule in role["rules"]:
        names = tuple(rule.get("resourceNames", ()))
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Right(group, resource, verb), names
