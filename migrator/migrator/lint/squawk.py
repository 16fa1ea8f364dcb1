"""squawk (https://squawkhq.com): which of its rules matter in which phase, and the call of its binary.

What a rule is worth depends on the phase: dropping a column is what contract is for. So every rule is asked, and
these tables say which answers count; a rule of a newer squawk that stands in none of them is left out.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from migrator.lint.findings import Finding, Severity, SqlFile
from migrator.lint.phases import comes_again

_SECONDS = 30
_OPT_IN = ("ban-disable-trigger", "ban-detach-inheritance", "ban-alter-row-level-security", "ban-set-default")

_LATER = "do it in contract.sql, when the old version is gone"
_NEW_COLUMN = (
    "add a new column beside it and keep both true (sync.toml, or triggers of your own); "
    "drop the old one in contract.sql"
)
_NOT_VALID = "add it NOT VALID, and VALIDATE it in online.sql"
_CONCURRENTLY = "build it CONCURRENTLY in online.sql, which runs outside of transactions"
_FILL = "add the column nullable and without a volatile default; fill it in migrate.sql, SET NOT NULL in contract.sql"
_READ = "squawk cannot read this, and so none of its rules were asked; mend the statement"
_PROVE = "prove it before: ADD CHECK (... IS NOT NULL) NOT VALID in expand.sql, VALIDATE it in online.sql"

_LOCKS: Mapping[str, str] = {
    "changing-column-type": _NEW_COLUMN,
    "adding-field-with-default": _FILL,
    "adding-foreign-key-constraint": _NOT_VALID,
    "constraint-missing-not-valid": _NOT_VALID,
    "disallowed-unique-constraint": "build the unique index CONCURRENTLY before, and add the constraint USING INDEX",
    "adding-serial-primary-key-field": "build the unique index CONCURRENTLY before, and add the key USING INDEX",
    "require-concurrent-index-creation": _CONCURRENTLY,
    "require-concurrent-index-deletion": _CONCURRENTLY,
    "require-concurrent-reindex": _CONCURRENTLY,
    "require-concurrent-partition-detach": _CONCURRENTLY,
    "ban-truncate-cascade": "name the tables, each by itself",
    "ban-drop-database": "leave the database alone",
    "renaming-column": _NEW_COLUMN,
    "renaming-table": "keep the name; where it must go, leave a view of the old name until contract",
    "renaming-object": "keep the name until contract.sql",
    "ban-set-schema": "keep it where the old version looks for it",
    "syntax-error": _READ,
}
_DROPS: Mapping[str, str] = dict.fromkeys(
    (
        "ban-drop-column",
        "ban-drop-table",
        "ban-drop-view",
        "ban-drop-function",
        "ban-drop-type",
        "ban-drop-schema",
        "ban-drop-sequence",
        "ban-drop-domain",
        "ban-drop-constraint",
        "ban-drop-extension",
        "ban-drop-index",
        "ban-drop-policy",
        "ban-drop-default",
        "ban-drop-generated-expression",
        "ban-disable-trigger",
        "ban-detach-inheritance",
        "ban-alter-row-level-security",
    ),
    _LATER,
)
_ERRORS: Mapping[str, Mapping[str, str]] = {
    "expand": {
        **_LOCKS,
        **_DROPS,
        "adding-required-field": _FILL,
        "adding-not-nullable-field": _PROVE,
    },
    "migrate": {name: _LOCKS[name] for name in ("syntax-error", "require-concurrent-index-creation")},
    "online": {name: _LOCKS[name] for name in ("syntax-error", "require-concurrent-index-creation")},
    "divergence": {"syntax-error": _READ},
    # SET NOT NULL is what contract is for: whether a CHECK of another file proves it, only a rehearsal can tell.
    # An index goes with a short lock on a table that nobody scans by it any more.
    "contract": {name: mend for name, mend in _LOCKS.items() if name != "require-concurrent-index-deletion"},
    # What leads back is never refused for its manners.
    "backout": {"syntax-error": _READ},
}
_WARNINGS: Mapping[str, Mapping[str, str]] = {
    "expand": {
        "ban-drop-not-null": "be sure that the old version reads NULL there; with sync.toml it is not needed",
        "ban-set-default": "be sure that the old version's rows may have it",
    },
}


class SquawkMissing(Exception):  # noqa: N818 - told to people as it is
    """There is no squawk here, or it could not be run."""


def squawk_binary() -> str | None:
    """Beside the interpreter that runs us (it is a package of the same environment), or on the PATH."""
    beside = Path(sys.executable).with_name("squawk")
    return str(beside) if beside.is_file() else shutil.which("squawk")


def squawk_findings(file: SqlFile) -> Iterator[Finding]:
    """Raise SquawkMissing where it cannot be asked."""
    errors, warnings = _ERRORS.get(file.phase, {}), _WARNINGS.get(file.phase, {})
    found = file.statements()
    for told in _ask(file.text):
        rule, line = str(told["rule_name"]), int(told["line"]) + 1
        mend = errors.get(rule) or warnings.get(rule)
        if mend is None:
            continue
        last = int(told["line_end"]) + 1
        statement = next((each for each in reversed(found) if each.line <= last), None)
        if rule.startswith("ban-drop-") and statement is not None and comes_again(statement, found):
            continue
        yield Finding(
            file.name,
            line,
            rule,
            " ".join(str(told["message"]).split()),
            mend,
            Severity.ERROR if rule in errors else Severity.WARNING,
        )


def _ask(text: str) -> list[dict[str, Any]]:
    binary = squawk_binary()
    if binary is None:
        raise SquawkMissing("squawk is not installed (Python package squawk-cli)")
    # Waivers are ours alone, with a reason each; squawk's own would silence a rule without a word.
    asked = re.sub("squawk-ignore", "squawk_ignore", text, flags=re.IGNORECASE)
    try:
        done = subprocess.run(
            [binary, "--reporter", "json", "--pg-version", "14.0", "--assume-in-transaction",
             "--config", "/dev/null", *(f"--include={rule}" for rule in _OPT_IN)],
            input=asked, capture_output=True, text=True, check=False, timeout=_SECONDS, env={},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SquawkMissing(f"squawk did not run: {error}") from error
    try:
        told = json.loads(done.stdout or "null")
    except ValueError:
        told = None
    if not isinstance(told, list):
        raise SquawkMissing(f"squawk ended with {done.returncode}: {done.stderr.strip()[:200]}")
    return told
