"""What `tool.json` and `targets.json` say, and what of it can only go wrong."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from migrator.request import Verb
from migrator.sqltext import Fault

_PLACE = "{target}"


@dataclass(frozen=True)
class Tool:
    """How the tool is asked and moved. `{target}` stands for the target in `forward` and `back`."""

    state: tuple[str, ...]
    forward: tuple[str, ...]
    back: tuple[str, ...]
    state_pattern: str = r"(\S+)"
    """its first group, in the last line that it is found in, is the state; no such line: the empty state"""

    @classmethod
    def parse(cls, text: str) -> "Tool":
        """Raise ValueError with what is wrong."""
        said = _object(text)
        commands = {}
        for name in ("state", "forward", "back"):
            command = said.pop(name, None)
            if (
                not isinstance(command, list)
                or not command
                or not all(isinstance(part, str) for part in command)
            ):
                raise ValueError(f"{name!r} is not a list of a program and its arguments")
            if name != "state" and _PLACE not in " ".join(command):
                raise ValueError(f"{name!r} does not say where {_PLACE} goes")
            commands[name] = tuple(command)
        pattern = said.pop("statePattern", cls.state_pattern)
        if said:
            raise ValueError(f"{min(said)!r} is not known")
        try:
            groups = re.compile(str(pattern)).groups
        except re.error as error:
            raise ValueError(f"'statePattern' is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError("'statePattern' has not exactly one group")
        return cls(**commands, state_pattern=str(pattern))

    def command(self, phase: Verb, target: str) -> tuple[str, ...]:
        chosen = self.back if phase is Verb.BACKOUT else self.forward
        return tuple(part.replace(_PLACE, target) for part in chosen)

    def state_in(self, told: str) -> str:
        found = [match[1] for line in told.splitlines() if (match := re.search(self.state_pattern, line))]
        return found[-1] if found else ""


@dataclass(frozen=True)
class Targets:
    """Where the tool stands before a version and after each of its phases; a phase without one has nothing to do."""

    before: str
    expand: str | None = None
    migrate: str | None = None
    contract: str | None = None
    allow: Mapping[str, str] = field(default_factory=dict)
    """rules that its phases may break all the same, each with the reason"""

    @classmethod
    def parse(cls, text: str) -> "Targets":
        """Raise ValueError with what is wrong."""
        said = _object(text)
        allow = _allowed(said.pop("allow", {}))
        known = {field.name for field in fields(cls)}
        for name, value in said.items():
            if name not in known or not isinstance(value, str):
                raise ValueError(f"{name!r} is none of {', '.join(sorted(known))}, or no string")
        if "before" not in said:
            raise ValueError(
                "'before' is missing: where the tool stands before this version, and after its backout"
            )
        return cls(**{name: str(value) for name, value in said.items()}, allow=allow)

    def of(self, phase: Verb) -> str | None:
        match phase:
            case Verb.EXPAND:
                return self.expand
            case Verb.MIGRATE:
                return self.migrate
            case Verb.CONTRACT:
                return self.contract
            case _:
                return self.before

    def before_of(self, phase: Verb) -> tuple[str, ...]:
        """Where the tool may stand when a phase begins."""
        order = (self.before, self.expand, self.migrate)
        if phase is Verb.BACKOUT:
            return tuple(dict.fromkeys(target for target in order if target is not None))
        reached = order[: {Verb.EXPAND: 1, Verb.MIGRATE: 2, Verb.CONTRACT: 3}[phase]]
        return (next(target for target in reversed(reached) if target is not None),)


def _allowed(said: object) -> dict[str, str]:
    if not isinstance(said, Mapping) or not all(
        isinstance(reason, str) and reason.strip() for reason in said.values()
    ):
        raise ValueError("'allow' is not an object of rules and the reason for each")
    return {str(rule): str(reason) for rule, reason in said.items()}


def targets_faults(text: str) -> Iterator[Fault]:
    try:
        Targets.parse(text)
    except ValueError as error:
        yield Fault(
            1, str(error), 'such as {"before": "a1", "expand": "b2", "migrate": "c3", "contract": "d4"}'
        )


def command_faults(command: tuple[str, ...]) -> Iterator[Fault]:
    """psql goes on after an error and ends with 0: half of a file would pass for all of it."""
    words = " ".join(command)
    if re.search(r"(^|[\s/;&|])psql(\s|$)", words) and not re.search(r"ON_ERROR_STOP=(1|on|true)\b", words):
        yield Fault(
            1,
            f"{words[:80]!r} runs psql, which goes on after an error and ends with 0",
            "add -v ON_ERROR_STOP=1, and --single-transaction where the file allows it",
        )


def _object(text: str) -> dict[str, object]:
    try:
        said = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(said, Mapping):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - of the file's content, not of an argument
    return dict(said)
