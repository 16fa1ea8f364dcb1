"""What lint says: findings, and the waivers with which a file answers back."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from migrator.sqltext import Statement, statements

_WAIVER = re.compile(
    r"--[ \t]*lint:[ \t]*allow[ \t]+(?P<rules>[a-z][a-z, \t-]*?)(?:[ \t]+because[ \t]+(?P<reason>\S.*))?$"
)


class Severity(StrEnum):
    ERROR = "error"
    """breaks the phase's promise: the runner refuses the file"""
    WARNING = "warning"
    """may cost something; shown, never refused"""


@dataclass(frozen=True)
class Finding:
    """One sentence about one place. `waived` is the reason that the file gives for doing it all the same."""

    file: str
    line: int
    rule: str
    message: str
    mend: str
    severity: Severity = Severity.ERROR
    waived: str = ""

    @property
    def refuses(self) -> bool:
        return self.severity is Severity.ERROR and not self.waived

    def __str__(self) -> str:
        shown = f"waived ({self.waived})" if self.waived else self.severity.value
        return f"{self.file}:{self.line}: {shown} {self.rule}: {self.message}"


class StatementFailedError(Exception):
    """A statement of a file failed: the finding tells it, the versions after it cannot be rehearsed."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass(frozen=True)
class Waiver:
    """`-- lint: allow RULE, RULE because REASON`, above the statement that it is for, or inside of it."""

    line: int
    rules: frozenset[str]
    reason: str


@dataclass(frozen=True)
class SqlFile:
    """One phase's file: `name` as in messages, such as 1.1.0/expand.sql."""

    name: str
    text: str

    @property
    def phase(self) -> str:
        return self.name.rpartition("/")[2].removesuffix(".sql")

    def statements(self) -> Sequence[Statement]:
        return list(statements(self.text))


def waivers(text: str) -> Iterator[Waiver]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _WAIVER.search(line.rstrip()):
            rules = frozenset(rule for rule in re.split(r"[,\s]+", found["rules"]) if rule)
            yield Waiver(number, rules, (found["reason"] or "").strip())


def judged(file: SqlFile, findings: Iterable[Finding]) -> list[Finding]:
    """The findings of a file in their order, with its waivers applied; a waiver has to say why, and be needed."""
    found = sorted(set(findings), key=lambda finding: (finding.line, finding.rule, finding.message))
    given = list(waivers(file.text))
    spans = [(statement.line, statement.line + statement.text.count("\n")) for statement in file.statements()]
    used: set[Waiver] = set()
    answer: list[Finding] = []
    for finding in found:
        waiver = next((each for each in given if _covers(each, finding, spans)), None)
        if waiver is not None:
            used.add(waiver)
        answer.append(replace(finding, waived=waiver.reason) if waiver else finding)
    for waiver in given:
        rules = ", ".join(sorted(waiver.rules))
        if not waiver.reason:
            message, mend = (
                f"{rules} is waived without a reason",
                "write `-- lint: allow RULE because REASON`",
            )
            answer.append(Finding(file.name, waiver.line, "waiver-without-reason", message, mend))
        elif waiver not in used:
            message, mend = f"nothing here breaks {rules}", "take it out; what a rehearsal finds needs --dsn"
            answer.append(Finding(file.name, waiver.line, "waiver-unused", message, mend, Severity.WARNING))
    return answer


def _covers(waiver: Waiver, finding: Finding, spans: Sequence[tuple[int, int]]) -> bool:
    if not waiver.reason or finding.rule not in waiver.rules:
        return False
    # The first statement that ends on the waiver's line or after it is the one that it is for.
    span = next((span for span in spans if span[1] >= waiver.line), None)
    return span is not None and span[0] <= finding.line <= span[1]
