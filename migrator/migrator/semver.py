"""Order of versions, as semver.org defines it. Build metadata is refused: it has no order."""

import re
from dataclasses import dataclass
from functools import total_ordering

_NUMBER = r"(?:0|[1-9]\d*)"
_IDENTIFIER = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_PATTERN = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?",
    re.ASCII,
)


@total_ordering
@dataclass(frozen=True)
class Version:
    """One version; `text` is what stands in file names, arguments and the ledger."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Raise ValueError where `text` is not MAJOR.MINOR.PATCH with an optional -PRERELEASE."""
        if _PATTERN.fullmatch(text) is None:
            raise ValueError(
                f"{text!r} is not a version of the form MAJOR.MINOR.PATCH or MAJOR.MINOR.PATCH-PRERELEASE"
            )
        return cls(text)

    def __lt__(self, other: "Version") -> bool:
        return self._key() < other._key()

    def __str__(self) -> str:
        return self.text

    def _key(self) -> tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]:
        matched = _PATTERN.fullmatch(self.text)
        assert matched is not None
        prerelease = matched["prerelease"]
        # A prerelease comes before its release; in it, numbers come before words and are compared as numbers.
        parts = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in (prerelease or "").split(".")
            if part
        )
        return (
            int(matched["major"]),
            int(matched["minor"]),
            int(matched["patch"]),
            0 if prerelease else 1,
            parts,
        )
