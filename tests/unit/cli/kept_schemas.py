"""Releases at rest over an expanded schema that stayed."""

from .conftest import Json, stable


def schema_kept() -> Json:
    """1.0.0 serves at rest again, the expanded schema of 1.1.0 stays."""
    item = stable()
    item["status"] |= {
        "reason": "BackoutPending",
        "message": "1.0.0 serves; what the expand step of 1.1.0 added stays",
        "pendingBackout": {
            "id": "u2-bbbbbbbbbb", "from": "1.0.0", "to": "1.1.0", "state": "Pending", "attempt": 1,
        },
    }  # fmt: skip
    return item


def backout_failed_at_rest() -> Json:
    """The same, approved, and rows would be lost."""
    item = schema_kept()
    item["status"] |= {"reason": "BackoutFailed", "message": "the backout failed: 3 rows"}
    item["status"]["pendingBackout"] |= {"state": "Failed", "attempt": 2}
    item["status"]["conditions"][2]["status"] = "True"
    return item
