"""The run of a container: arguments and environment in, answer and exit code out."""

import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import FrameType

from migrator.answer import Answer, deliver, failure
from migrator.barrier import Replicas
from migrator.database import connect, open_replica, translated
from migrator.dsn import Dsn, Redactor, parse_dsn, redactor_of
from migrator.request import Request, parse_request
from migrator.scripts import check_texts, in_range, read_library
from migrator.settings import Settings, read_settings, termination_log
from migrator.stops import Reason, Refused, Stop, TryAgain
from migrator.tool import read_tool
from migrator.verbs import Run


class Interrupted(KeyboardInterrupt):
    """The container is being stopped. On a KeyboardInterrupt psycopg cancels a running statement."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Exit codes: 0 done, 1 failed for good, 2 worth retrying."""
    request: Request | None = None
    redact = Redactor()
    try:
        with _interruptible():
            with _untouched():
                request = parse_request(arguments)
                settings = read_settings(environment)
                dsn = parse_dsn(settings.database_url)
                endpoints = [parse_dsn(url, "REPLICA_URL") for url in settings.replica_urls]
            redact = redactor_of([dsn, *endpoints])
            answer = _run(request, settings, dsn, endpoints)
    except Stop as stop:
        answer = failure(stop, request)
    except Interrupted:
        answer = failure(_interrupted(), request)
    except Exception as error:  # noqa: BLE001 - the operator must get an answer whatever happens
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
        answer = failure(_unexpected(error), request)
    return deliver(answer, termination_log(environment), redact)


def _run(request: Request, settings: Settings, dsn: Dsn, endpoints: Sequence[Dsn]) -> Answer:
    with _untouched():
        library = read_library(settings.migrations)
        tool = read_tool(settings.migrations)
        check_texts(library, in_range(library, request), request.verb)
        connection = connect(dsn, request, settings.limits)
    replicas = Replicas(endpoints, lambda endpoint: open_replica(endpoint, request), settings.limits)
    with closing(connection), closing(replicas), translated(connection):
        redact = redactor_of([dsn, *endpoints])
        return Run(connection, request, settings, library, replicas, tool, redact).carry_out()


@contextmanager
def _untouched() -> Iterator[None]:
    """What ends a run in here ends it before it can have changed anything; its answer says so."""
    try:
        yield
    except Stop as stop:
        stop.untouched = True
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """As process 1 of a container, a signal without a handler would be ignored until the kubelet kills."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupted() -> TryAgain:
    return TryAgain(
        Reason.INTERRUPTED,
        "the container was stopped; the transaction under way was undone, what was committed before stays",
        "run the verb again: it goes on from where the ledger says",
    )


def _unexpected(error: Exception) -> Refused:
    return Refused(
        Reason.UNEXPECTED,
        f"{type(error).__name__}: {error}",
        "this is a fault of the runner: report it with the Job's log; the last transaction was undone",
    )
