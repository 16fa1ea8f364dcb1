"""What a deliberate bug is: a function of the domain that is replaced, or a rule of the API server that is gone."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tests.model.bounds import Bounds
from tests.model.writes import Api


@dataclass(frozen=True)
class Mutant:
    """One deliberate bug."""

    name: str
    #: Number of the invariant that it breaks; 0 for liveness.
    breaks: int
    bounds: Bounds
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    api: Callable[[], Api] = Api
    #: Whether the effect comes before the status that names it.
    effect_first: bool = False


def of(module: Any, name: str, new: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(module, name, new)


def always(*_args: Any, **_kwargs: Any) -> bool:
    return True


def never(*_args: Any, **_kwargs: Any) -> None:
    return None
