"""From the object as stored to models; whatever is wrong comes back as findings that name field, value and mend."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from conductor.api.spec import ReleaseSpec
from conductor.api.status import ReleaseStatus
from conductor.api.urls import UrlPatterns

_VALUE_LIMIT = 80
_NO_OBJECT = frozenset({"model_type", "model_attributes_type", "dict_type"})


@dataclass(frozen=True)
class Finding:
    """One thing wrong in the input."""

    field: str
    value: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value} {self.mend}"


def parse_spec(raw: Mapping[str, Any], urls: UrlPatterns | None = None) -> ReleaseSpec | tuple[Finding, ...]:
    """Read `spec`; bad input gives every finding, in the order of the fields.

    `urls`: where a release may send the operator. What was recorded earlier is read without.
    """
    try:
        spec = ReleaseSpec.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        return _distinct(_finding(raw, item) for item in error.errors(include_url=False))
    url = spec.metrics.prometheus.url
    if urls is not None and (refusal := urls.refusal(url)) is not None:
        return (Finding("spec.metrics.prometheus.url", _short(url), refusal),)
    return spec


class UnknownStatusError(ValueError):
    """The status holds a word that this operator does not know; `finding` names field, value and mend."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def parse_status(raw: Mapping[str, Any] | None) -> ReleaseStatus:
    """Read `status`. Fields of a newer operator are carried along and decide nothing.

    Raises UnknownStatusError where a known field holds a phase, an outcome or another word that is not known
    here: what it means for users' traffic cannot be guessed.
    """
    try:
        return ReleaseStatus.model_validate(raw or {})
    except ValidationError as error:
        location = error.errors(include_url=False)[0]["loc"]
        path, found = _follow(raw or {}, location)
        whole = len(path) == len(location)
        raise UnknownStatusError(
            Finding(
                _field(path if whole else location, "status"),
                _short(found) if whole else "(missing)",
                "is not what this operator can read: a newer one wrote it, or a hand did. Run that operator again, or "
                "restore the value; this one changes nothing until then, and what serves stays",
            )
        ) from error


def _finding(raw: Mapping[str, Any], item: Any) -> Finding:
    kind = item["type"]
    path, found = _follow(raw, item["loc"])
    if kind == "missing":
        return Finding(_field((*path, item["loc"][-1])), "(missing)", "is required; add it")
    field, value = _field(path), _short(found)
    if kind == "extra_forbidden":
        return Finding(field, value, "is not a known field; " + _suggestion(path))
    if kind in _NO_OBJECT:
        return Finding(field, value, "is not an object; write its fields as key: value")
    if kind == "value_error":
        return Finding(field, value if path else "", str(item["ctx"]["error"]))
    return Finding(field, value, f"is not valid: {item['msg'][0].lower()}{item['msg'][1:]}; correct it")


def _follow(raw: Any, location: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """The part of a location that the user's input has, and the value there: pydantic adds a union's branches."""
    node, path = raw, []
    for part in location:
        here = isinstance(node, Mapping) and part in node
        if not here and not (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            break
        node = node[part]
        path.append(part)
    return tuple(path), node


def _field(path: tuple[Any, ...], root: str = "spec") -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _distinct(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding a field, and none about a list or an object that only says that a part of it is wrong."""
    by_field = {finding.field: finding for finding in findings}
    return tuple(
        finding
        for field, finding in by_field.items()
        if not any(other.startswith((f"{field}[", f"{field}.")) for other in by_field)
    )


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _VALUE_LIMIT else text[: _VALUE_LIMIT - 1] + "…"


def _suggestion(path: tuple[Any, ...]) -> str:
    known = _known_fields(ReleaseSpec, path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"remove it (known here: {', '.join(sorted(known))})"


def _known_fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    node: type[BaseModel] = model
    for part in path:
        if isinstance(part, int):
            continue
        field = next((f for f in node.model_fields.values() if f.alias == part), None)
        inner = _inner_model(field.annotation) if field else None
        if inner is None:
            return []
        node = inner
    return [field.alias or name for name, field in node.model_fields.items()]


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _inner_model(argument)) is not None:
            return found
    return None
