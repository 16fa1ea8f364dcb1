"""Permits to contract. The operator gives one out when it has made going back impossible in the release, and
nobody else does; here they are consumed, each once."""

from typing import Any

from psycopg import Connection

from migrator.ledger import Pen
from migrator.ledger_schema import ledger_version
from migrator.request import Request, Verb
from migrator.stops import Reason, Refused

_SINCE = 2
"""the ledger's version that has them"""


def check_permit(connection: Connection[Any], request: Request) -> None:
    """Refuse a contract step without a permit, or with one of another upgrade, before anything is touched."""
    if request.verb is not Verb.CONTRACT:
        return
    if not request.permit:
        raise Refused(
            Reason.PERMIT_MISSING,
            "--permit is missing: a contract step ends the way back, so the release must have given it up before",
            "let the operator begin the step (phase Contracting, or the approval of a deferred contract): from then "
            f"on --permit {request.upgrade}/contract is valid",
        )
    if ledger_version(connection) >= _SINCE:
        _refuse_spent(connection, request)


def consume_permit(connection: Connection[Any], pen: Pen) -> None:
    """Within the transaction of the first contract step; later ones and later attempts go on under it."""
    if not pen.request.permit:
        return
    request = pen.request
    connection.execute(
        """
        INSERT INTO maestro_conductor.permits
            (permit, control_plane, upgrade, from_version, to_version, attempt, fence)
        VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (permit) DO NOTHING
        """,
        (
            request.permit, request.control_plane, request.upgrade, request.source_text, request.target.text,
            request.attempt, pen.token,
        ),
    )  # fmt: skip
    _refuse_spent(connection, request)


def _refuse_spent(connection: Connection[Any], request: Request) -> None:
    row = connection.execute(
        "SELECT upgrade, from_version, to_version, consumed_at FROM maestro_conductor.permits WHERE permit = %s",
        (request.permit,),
    ).fetchone()
    if row is None or row[:3] == (request.upgrade, request.source_text, request.target.text):
        return
    raise Refused(
        Reason.PERMIT_SPENT,
        f"--permit {request.permit} was consumed on {row[3]:%Y-%m-%d %H:%M:%S%z} by upgrade {row[0]} "
        f"({row[1]} to {row[2]})",
        "a permit is for one contract step: take the one that this upgrade was given",
    )
