"""Holds every locked Python package against its registry and, where one answers, against an advisory database.

The registry says which releases were withdrawn (yanked); that works wherever packages can be installed. Known
vulnerabilities come from OSV (https://osv.dev): where it is not reached, that is said, and nothing is shown by it;
`MC_ADVISORIES=required` makes that an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-uv.lock",
    "controlplane/requirements.lock",
    "migrator/requirements.lock",
)
UV = ROOT / ".venv" / "bin" / "uv"
PINNED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?P<marker>;[^\\]+)?", re.MULTILINE
)
UNREACHABLE = re.compile(
    r"error sending request|Request failed|dns error|operation timed out|Connection refused"
)
VULNERABLE = 1


class ScanError(Exception):
    """The scan itself did not work."""


@dataclass(frozen=True)
class Advisories:
    """What the database said about one lock; None where it did not answer."""

    report: str | None
    vulnerable: bool = False


def pinned(lock: Path) -> list[str]:
    """The requirements of a lock without their hashes. Raises ScanError where there are none."""
    found = [
        f"{item['name']}=={item['version']}{' ' + item['marker'].strip() if item['marker'] else ''}"
        for item in PINNED.finditer(lock.read_text())
    ]
    if not found:
        raise ScanError(f"{lock}: no pinned package")
    return found


def withdrawn(lock: Path) -> list[str]:
    """Locked releases that their authors withdrew, with the reason. Raises ScanError where the registry is away."""
    with tempfile.TemporaryDirectory() as nowhere:
        done = _uv(
            "pip",
            "install",
            "--dry-run",
            "--no-deps",
            "--require-hashes",
            "--target",
            nowhere,
            "-r",
            str(lock),
        )
    if done.returncode != 0:
        raise ScanError(f"{lock.name}: {done.stderr.strip()}")
    return [line.removeprefix("warning: ") for line in done.stderr.splitlines() if " is yanked" in line]


def advisories(lock: Path, service: str | None = None) -> Advisories:
    """Ask the database about every package of a lock. Raises ScanError where packages cannot be resolved."""
    lines = "".join(f'#   "{requirement}",\n' for requirement in pinned(lock))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "locked.py")
        script.write_text(
            f'# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n{lines}# ]\n# ///\n'
        )
        where = ["--service-url", service] if service else []
        done = _uv("audit", "--preview-features", "audit-command", "--script", str(script), *where)
    if done.returncode in (0, VULNERABLE):
        return Advisories(done.stdout.strip() or done.stderr.strip(), done.returncode == VULNERABLE)
    if UNREACHABLE.search(done.stderr):
        return Advisories(None)
    raise ScanError(f"{lock.name}: {done.stderr.strip()}")


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    certificates = {"UV_SYSTEM_CERTS": "1"} if Path("/etc/ssl/certs/ca-certificates.crt").exists() else {}
    return subprocess.run(
        [str(UV), *arguments],
        cwd=ROOT,
        env={"UV_HTTP_RETRIES": "1", **certificates, **os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def scan(locks: Sequence[Path], *, service: str | None = None, required: bool = False) -> int:
    """Say what is wrong with these locks; the exit code."""
    wrong = 0
    answered = True
    for lock in locks:
        for line in withdrawn(lock):
            wrong += 1
            print(f"{lock.name}: {line}; run `make lock UPGRADE=1`")
        said = advisories(lock, service) if answered else Advisories(None)
        answered = said.report is not None
        if said.vulnerable:
            wrong += 1
            print(f"{lock.name}: {said.report}")
    count = sum(len(pinned(lock)) for lock in locks)
    print(f"dependencies: {count} locked releases in {len(locks)} files were asked for at their registry")
    if answered:
        print("dependencies: each was looked up in the advisory database")
    else:
        print(
            "dependencies: NOT CHECKED for known vulnerabilities, the advisory database (OSV) is not reached here"
        )
    return 1 if wrong or (required and not answered) else 0


def main() -> int:
    try:
        required = os.environ.get("MC_ADVISORIES", "") == "required"
        return scan([ROOT / name for name in LOCKS], required=required)
    except ScanError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
