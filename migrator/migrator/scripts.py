"""The SQL files of an image: `<version>/{expand,migrate,online,divergence,contract,backout}.sql`, each optional, and
what a `<version>/sync.toml` makes of itself."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from migrator.online_text import online_faults
from migrator.request import Request, Verb
from migrator.semver import Version
from migrator.sqltext import Fault, script_faults, single_statement_faults
from migrator.stops import Reason, Refused
from migrator.tool_text import targets_faults

SCRIPTS = (
    *("expand.sql", "migrate.sql", "online.sql", "divergence.sql", "contract.sql", "backout.sql"),
    "targets.json",
)
SYNC = "sync.toml"
_SINGLE = frozenset({"migrate.sql", "divergence.sql"})


@dataclass(frozen=True)
class Script:
    """One file of one version."""

    version: Version
    name: str
    text: str
    digest: str

    @property
    def label(self) -> str:
        return f"{self.version}/{self.name}"

    def faults(self) -> Iterator[Fault]:
        if self.name == "targets.json":
            return targets_faults(self.text)
        if self.name == "online.sql":
            return online_faults(self.text)
        return single_statement_faults(self.text) if self.name in _SINGLE else script_faults(self.text)


Library = Mapping[Version, Mapping[str, Script]]


def read_library(folder: Path) -> Library:
    """Raise Refused where a folder or file is named so that it would silently never run."""
    library: dict[Version, dict[str, Script]] = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.is_dir() and not entry.name.startswith("."):
            version = _version_of(entry)
            library[version] = {script.name: script for script in _read_version(entry, version)}
    if not library:
        # An image that was built without its files would otherwise answer that there is nothing to do.
        raise Refused(
            Reason.FILES_INVALID,
            f"migrations: {folder} holds no version's folder in this image",
            "copy the versions' folders there in the image of spec.migrations.image, and look at its .dockerignore",
        )
    return dict(sorted(library.items()))


def in_range(library: Library, request: Request) -> list[Version]:
    """The versions that the upgrade crosses and that bring any SQL, in their order."""
    return [version for version, scripts in library.items() if scripts and request.covers(version)]


def check_texts(library: Library, versions: Iterable[Version], verb: Verb) -> None:
    """Refuse before anything is touched what could only fail half-way.

    A backout looks at its own files only: a fault in another one must never stand in the way of going back.
    """
    for version in versions:
        _refuse_both(version, library[version])
        for script in library[version].values():
            if verb is Verb.BACKOUT and script.name not in ("backout.sql", "targets.json"):
                continue
            for fault in script.faults():
                raise Refused(
                    Reason.FILES_INVALID,
                    f"{script.label} line {fault.line}: {fault.message}",
                    fault.mend,
                    version=version.text,
                )


def _refuse_both(version: Version, scripts: Mapping[str, Script]) -> None:
    beside = sorted(scripts.keys() - {"targets.json", "divergence.sql"})
    if "targets.json" in scripts and beside:
        raise Refused(
            Reason.FILES_INVALID,
            f"{version}/{beside[0]} stands beside targets.json: a version is migrated by the tool or by SQL files",
            "take out one of the two; divergence.sql may stay with either",
            version=version.text,
        )


def digest_of(library: Library, versions: Iterable[Version]) -> str:
    """One digest over all files of `versions`, names and contents."""
    total = hashlib.sha256()
    for version in versions:
        for name, script in sorted(library[version].items()):
            total.update(f"{version}/{name} {script.digest}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _version_of(entry: Path) -> Version:
    try:
        return Version.parse(entry.name)
    except ValueError as error:
        raise Refused(
            Reason.FILES_INVALID,
            f"migrations: folder {error}",
            "name each folder after the version whose SQL it holds, such as 1.1.0",
        ) from error


def _read_version(folder: Path, version: Version) -> Iterator[Script]:
    sources: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        if path.name not in (*SCRIPTS, SYNC):
            raise Refused(
                Reason.FILES_INVALID,
                f"migrations: {version}/{path.name} is none of {', '.join((*SCRIPTS, SYNC))}",
                "rename it or take it out: it would never run",
                version=version.text,
            )
        sources[path.name] = path.read_bytes()
    texts = {name: _decoded(version, name, content) for name, content in sources.items()}
    made = _made_of_sync(version, texts)
    for name in SCRIPTS:
        if name in texts or name in made:
            # The digest is of what people wrote: a newer runner may make other SQL of the same sync.toml.
            content = sources.get(name, b"") + (b"\0" + sources[SYNC] if name in made else b"")
            text = _composed(name, texts.get(name, ""), made.get(name, ""))
            yield Script(version, name, text, f"sha256:{hashlib.sha256(content).hexdigest()}")


def _decoded(version: Version, name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            Reason.FILES_INVALID,
            f"{version}/{name} is not UTF-8 ({error.reason} at byte {error.start})",
            "save it as UTF-8",
            version=version.text,
        ) from error


def _made_of_sync(version: Version, texts: Mapping[str, str]) -> Mapping[str, str]:
    if SYNC not in texts:
        return {}
    for name in sorted(_SINGLE & texts.keys()):
        raise Refused(
            Reason.FILES_INVALID,
            f"{version}/{name} stands beside {SYNC}, which makes a {name} of its own",
            "take one of the two out; a second backfill is a version of its own",
            version=version.text,
        )
    # Only here: pydantic takes longer to import than most steps without a sync.toml take.
    from migrator.sync import parse_sync  # noqa: PLC0415
    from migrator.sync_scripts import sync_scripts  # noqa: PLC0415

    try:
        return sync_scripts(parse_sync(texts[SYNC]))
    except ValueError as error:
        raise Refused(
            Reason.FILES_INVALID,
            f"{version}/{SYNC}: {error}",
            "mend it as docs/two-way-sync.md says",
            version=version.text,
        ) from error


def _composed(name: str, written: str, made: str) -> str:
    """What is made comes after a person's expand, and goes before it does."""
    parts = [written, made] if name == "expand.sql" else [made, written]
    return "\n".join(part for part in parts if part.strip())
