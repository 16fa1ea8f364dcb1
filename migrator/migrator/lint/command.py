"""`python -m migrator lint DIR`, which `conductor migrations lint DIR` calls: the versions' folders of an image,
looked at before there is an image.

Exit codes: 0 nothing that the runner would refuse; 1 findings; 2 it could not be done (wrong use, files that cannot
be read, no squawk, no scratch database).
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from migrator.dsn import parse_dsn
from migrator.lint.findings import Finding, Severity, SqlFile, judged
from migrator.lint.phases import phase_findings
from migrator.lint.rehearsal import RehearsalFailed, rehearse
from migrator.lint.squawk import SquawkMissing, squawk_findings
from migrator.lint.tool_rehearsal import TARGETS
from migrator.scripts import Library, Script, read_library
from migrator.semver import Version
from migrator.stops import Stop
from migrator.tool import read_tool

CLEAN, FOUND, NOT_DONE = 0, 1, 2
_ORDER = (
    "targets.json",
    "expand.sql",
    "migrate.sql",
    "online.sql",
    "divergence.sql",
    "contract.sql",
    "backout.sql",
)


class _NotDoneError(Exception):
    """Nothing can be said about the files; the sentence names the mend."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="conductor migrations lint", description=__doc__)
    made.add_argument(
        "folder", metavar="DIR", type=Path, help="holds a folder for each version, such as 1.1.0/expand.sql"
    )
    made.add_argument(
        "--dsn",
        default="",
        help="URL of a PostgreSQL to rehearse on, in a scratch database of its own (default: $LINT_DATABASE_URL)",
    )
    made.add_argument(
        "--from",
        dest="source",
        metavar="VERSION",
        help="the schema of this version is there already: lint what comes after",
    )
    made.add_argument(
        "--schema", type=Path, metavar="FILE", help="SQL that makes the schema to begin with (pg_dump -s)"
    )
    made.add_argument("--without-squawk", action="store_true", help="leave squawk's rules out")
    made.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return made


def main(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ, out: TextIO | None = None
) -> int:
    given = parser().parse_args(list(arguments))
    out = out or sys.stdout
    try:
        findings, told = _lint(given, given.dsn or environment.get("LINT_DATABASE_URL", ""))
    except (_NotDoneError, SquawkMissing, RehearsalFailed) as error:
        sys.stderr.write(f"conductor migrations lint: {error}\n")
        return NOT_DONE
    except Stop as stop:
        sys.stderr.write(f"conductor migrations lint: {stop.message}; {stop.mend}\n")
        return NOT_DONE
    refused = sum(finding.refuses for finding in findings)
    if given.json:
        json.dump(
            {**told, "refused": refused, "findings": [_as_json(finding) for finding in findings]},
            out,
            indent=2,
        )
        out.write("\n")
    else:
        out.writelines(_lines(findings, refused, told))
    return FOUND if refused else CLEAN


def _lint(given: argparse.Namespace, url: str) -> tuple[list[Finding], dict[str, Any]]:
    if not given.folder.is_dir():
        raise _NotDoneError(f"{given.folder} is no folder; name the one that holds a folder for each version")
    library = read_library(given.folder)
    basis, linted = _split(library, given.source, has_schema=given.schema is not None)
    files = [
        SqlFile(script.label, script.text) for version in linted for script in _in_order(library, version)
    ]
    raw: dict[str, list[Finding]] = {file.name: [] for file in files}
    for version in linted:
        for script in _in_order(library, version):
            raw[script.label] += [
                Finding(script.label, fault.line, "not-in-transaction", fault.message, fault.mend)
                for fault in script.faults()
            ]
    for file in files:
        if file.phase == TARGETS:
            continue
        raw[file.name] += phase_findings(file)
        if not given.without_squawk:
            raw[file.name] += squawk_findings(file)
    if url:
        before = [SqlFile(script.label, script.text) for version in basis for script in _in_order(library, version)
                  if script.name != "backout.sql"]  # fmt: skip
        if given.schema is not None:
            before.insert(0, _schema(given.schema))
        by_version = [[SqlFile(s.label, s.text) for s in _in_order(library, version)] for version in linted]
        for finding in rehearse(parse_dsn(url), before, by_version, read_tool(given.folder)):
            raw[finding.file].append(finding)
    # What targets.json allows is told with each finding; comments, in which SQL does so, it has none.
    findings = [
        finding
        for file in files
        for finding in (raw[file.name] if file.phase == TARGETS else judged(file, raw[file.name]))
    ]
    return findings, {
        "versions": [version.text for version in linted],
        "basis": [version.text for version in basis],
        "files": len(files),
        "squawk": not given.without_squawk,
        "rehearsed": bool(url),
    }


def _split(library: Library, source: str | None, *, has_schema: bool) -> tuple[list[Version], list[Version]]:
    """What is there when the first upgrade begins, and the upgrades. Nobody is at work while the oldest is made."""
    versions = list(library)
    if source is None:
        return ([], versions) if has_schema else (versions[:1], versions[1:])
    try:
        after = Version.parse(source)
    except ValueError as error:
        raise _NotDoneError(f"--from: {error}") from error
    return [version for version in versions if version <= after], [
        version for version in versions if version > after
    ]


def _in_order(library: Library, version: Version) -> list[Script]:
    scripts = library[version]
    return [scripts[name] for name in _ORDER if name in scripts]


def _schema(path: Path) -> SqlFile:
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise _NotDoneError(f"--schema {path}: {error}") from error
    # pg_dump writes commands of psql as well, which are none of the server's.
    return SqlFile(str(path), "".join("\n" if line.startswith("\\") else line for line in lines))


def _lines(findings: Sequence[Finding], refused: int, told: Mapping[str, Any]) -> list[str]:
    lines = [f"{finding}\n    {finding.mend}\n" for finding in findings]
    warned = sum(finding.severity is Severity.WARNING for finding in findings)
    waived = sum(bool(finding.waived) for finding in findings)
    looked = "rehearsed on a scratch database" if told["rehearsed"] else "not rehearsed (no --dsn)"
    squawk = "" if told["squawk"] else ", without squawk"
    lines.append(
        f"{told['files']} files of {', '.join(told['versions']) or 'no version'}: {refused} refused, "
        f"{warned} warnings, "
        f"{waived} waived; {looked}{squawk}\n"
    )
    return lines


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "file": finding.file,
        "line": finding.line,
        "rule": finding.rule,
        "severity": finding.severity.value,
        "message": finding.message,
        "mend": finding.mend,
        "waived": finding.waived or None,
    }
