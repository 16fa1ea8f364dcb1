"""From the object as stored to models; whatever is wrong comes back as findings that name field, value and mend."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from conductor.api.spec import ReleaseSpec
from conductor.api.status import ReleaseStatus

_VALUE_LIMIT = 80


@dataclass(frozen=True)
class Finding:
    """One thing wrong in the input."""

    field: str
    value: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value} {self.mend}"


def parse_spec(raw: Mapping[str, Any]) -> ReleaseSpec | tuple[Finding, ...]:
    """Read `spec`; bad input gives every finding, in the order of the fields."""
    try:
        return ReleaseSpec.model_validate(raw)
    except ValidationError as error:
        return tuple(_finding(raw, item) for item in error.errors(include_url=False))


def parse_status(raw: Mapping[str, Any] | None) -> ReleaseStatus:
    """Read `status`; fields of a newer operator are kept out, none is an error."""
    return ReleaseStatus.model_validate(raw or {})


def _finding(raw: Mapping[str, Any], item: Any) -> Finding:
    path = ["spec", *item["loc"]]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    kind = item["type"]
    value = _short(_lookup(raw, item["loc"], item.get("input")))
    if kind == "extra_forbidden":
        return Finding(field, value, "is not a known field; " + _suggestion(item["loc"]))
    if kind == "missing":
        return Finding(field, "(missing)", "is required; add it")
    if kind == "value_error":
        message = str(item["ctx"]["error"])
        shown = "" if len(item["loc"]) == 0 else value
        return Finding(field, shown, message)
    return Finding(field, value, f"is not valid: {item['msg'][0].lower()}{item['msg'][1:]}; correct it")


def _lookup(raw: Any, path: tuple[Any, ...], fallback: Any) -> Any:
    node = raw
    for part in path:
        if (isinstance(node, Mapping) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]
        else:
            return fallback
    return node


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
