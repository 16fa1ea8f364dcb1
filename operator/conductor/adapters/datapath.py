"""Requests through a Service's own address, or a Gateway's: each over a connection of its own, as a new client would.

What a pod answers is compared and never repeated, but for what reads as a version.
"""

import json
import re
from http.client import HTTPException

from conductor.adapters.outbound import Bounds, Outbound
from conductor.api.spec import SEMVER
from conductor.domain.sampling import Request

_BOUNDS = Bounds(seconds=5.0, body_bytes=65_536, cut=True)
_SHOWN_VERSION = 64


def send(outbound: Outbound, address: str, request: Request) -> str | None:
    """Send one request. None when the answer is as asked for, else what was wrong with it."""
    headers = {**dict(request.headers), "User-Agent": "maestro-conductor"}
    if request.host is not None:
        headers["Host"] = request.host
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    shown = f"{request.method} {request.path}"
    try:
        answer = outbound.exchange(
            request.method,
            request.path,
            host=address,
            port=request.port,
            bounds=_BOUNDS,
            body=request.body,
            headers=headers,
        )
    except TimeoutError:
        return f"{shown}: no answer within {_BOUNDS.seconds:g} s"
    except (OSError, HTTPException) as error:
        return f"{shown}: {type(error).__name__}"
    if answer.status != request.expect_status:
        return f"{shown}: status {answer.status} instead of {request.expect_status}"
    if request.version_header is not None:
        return _compare(shown, answer.header(request.version_header), request.version)
    if request.version_json is not None:
        return _compare(shown, _from_json(answer.body, request.version_json), request.version)
    return None


def _from_json(body: bytes, key: str) -> str | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = answer.get(key) if isinstance(answer, dict) else None
    return str(found) if found is not None else None


def _compare(shown: str, found: str | None, wanted: str) -> str | None:
    if found == wanted:
        return None
    # The user chose which part of the answer is looked at: only a version may be told on.
    readable = found is not None and len(found) <= _SHOWN_VERSION and re.fullmatch(SEMVER, found)
    told = found if readable else ("none" if found is None else "something that is no version")
    return f"{shown}: version {told} instead of {wanted}"
