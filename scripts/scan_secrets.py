"""Looks for credentials in every file that is or would be committed; what `.secrets.baseline` accepts is left out.

`scan_secrets.py --accept` writes the baseline anew: look at each line that it adds. A single line is accepted by a
comment `pragma: allowlist secret` as well. Nothing is sent anywhere to find out whether a finding is real.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ".secrets.baseline"


def committed(root: Path) -> list[str]:
    """Files that git has or would take, by their path from `root`."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [name for name in listed.split("\0") if name and (root / name).is_file() and name != BASELINE]


def scanned(root: Path, settings: dict[str, Any], paths: Iterable[str]) -> SecretsCollection:
    """All findings in these files, accepted ones too."""
    with transient_settings(settings):
        found = SecretsCollection(root=str(root))
        for path in paths:
            found.scan_file(path)
    return found


def unaccepted(found: SecretsCollection, accepted: dict[str, Any]) -> list[str]:
    """Findings that the baseline does not hold. On which line of its file one stands does not matter."""
    known = {
        (path, item["type"], item["hashed_secret"])
        for path, items in accepted["results"].items()
        for item in items
    }
    return [
        f"{path}:{finding.line_number}: looks like a secret ({finding.type})"
        for path, finding in found
        if (path, finding.type, finding.secret_hash) not in known
    ]


def accepting(found: SecretsCollection) -> dict[str, list[dict[str, str]]]:
    """The baseline's results: what was found, but neither when nor on which line, which every edit would change."""
    results: dict[str, list[dict[str, str]]] = {}
    for path, finding in found:
        results.setdefault(path, []).append({"type": finding.type, "hashed_secret": finding.secret_hash})
    return {
        path: sorted(items, key=lambda item: (item["type"], item["hashed_secret"]))
        for path, items in results.items()
    }


def main(root: Path = ROOT, arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accept", action="store_true", help="write the baseline anew")
    given = parser.parse_args(arguments)
    accepted = json.loads((root / BASELINE).read_text())
    paths = committed(root)
    found = scanned(root, accepted, paths)
    if given.accept:
        text = json.dumps({**accepted, "results": accepting(found)}, indent=1, sort_keys=True)
        (root / BASELINE).write_text(text + "\n")
        return 0
    new = unaccepted(found, accepted)
    print(*new, sep="\n", end="\n" if new else "")
    if new:
        print(
            "take it out, and replace it wherever it was used; or accept it: scripts/scan_secrets.py --accept"
        )
        return 1
    print(f"secrets: none in {len(paths)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
