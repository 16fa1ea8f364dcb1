"""Requests through a Service's own address: each over a connection of its own, as a new client would."""

import json
import socket
from http.client import HTTPConnection, HTTPException

from conductor.domain.sampling import Request

_TIMEOUT_SECONDS = 5.0
_BODY_LIMIT = 65_536


def send(address: str, request: Request) -> str | None:
    """Send one request. None when the answer is as asked for, else what was wrong with it."""
    connection = HTTPConnection(address, request.port, timeout=_TIMEOUT_SECONDS)
    headers = {"Connection": "close", "User-Agent": "maestro-conductor"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    shown = f"{request.method} {request.path}"
    try:
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        body = response.read(_BODY_LIMIT)
    except TimeoutError:
        return f"{shown}: no answer within {_TIMEOUT_SECONDS:g} s"
    except (OSError, HTTPException, socket.gaierror) as error:
        return f"{shown}: {type(error).__name__}"
    finally:
        connection.close()
    if response.status != request.expect_status:
        return f"{shown}: status {response.status} instead of {request.expect_status}"
    if request.version_header is not None:
        return _compare(shown, response.getheader(request.version_header), request.version)
    if request.version_json is not None:
        return _compare(shown, _from_json(body, request.version_json), request.version)
    return None


def _from_json(body: bytes, key: str) -> str | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    found = answer.get(key) if isinstance(answer, dict) else None
    return str(found) if found is not None else None


def _compare(shown: str, found: str | None, wanted: str) -> str | None:
    return None if found == wanted else f"{shown}: version {found} instead of {wanted}"
