"""Order of semantic versions, https://semver.org/#spec-item-11."""

_Key = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]


def older(left: str, right: str) -> bool:
    """Whether `left` comes before `right`. Both must be semantic versions; build metadata does not count."""
    return _key(left) < _key(right)


def _key(version: str) -> _Key:
    core, _, pre = version.partition("+")[0].partition("-")
    major, minor, patch = (int(part) for part in core.split("."))
    # A version without a pre-release comes after all of its pre-releases; numbers come before words.
    parts = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in pre.split(".") if part
    )
    return (major, minor, patch), pre == "", parts
