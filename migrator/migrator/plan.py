"""From what the ledger says to what is still to be done: a pure decision, the same in every run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from migrator.answer import State
from migrator.ledger import Record, Records
from migrator.request import Request, Verb
from migrator.semver import Version
from migrator.stops import Reason, Refused

_WHOLE = (Verb.EXPAND, Verb.MIGRATE, Verb.CONTRACT)


@dataclass(frozen=True)
class Step:
    phase: Verb
    record: Record


def plan(
    request: Request,
    versions: Iterable[Version],
    records: Records,
    diverges: Callable[[Record], bool],
) -> list[Step]:
    """The steps that are left, in order; none where the verb is done. Raise Refused where it may not be."""
    found = [records.get(version, Record(version)) for version in versions]
    if request.verb is Verb.BACKOUT:
        found.reverse()
    return [Step(phase, record) for record in found for phase in _phases(request, record, diverges)]


def _phases(request: Request, record: Record, diverges: Callable[[Record], bool]) -> tuple[Verb, ...]:
    match request.verb:
        case Verb.EXPAND:
            return _bootstrap(request, record) if request.bootstrap else _expand(request, record)
        case Verb.MIGRATE:
            return _migrate(record, diverges)
        case Verb.CONTRACT:
            return _contract(record)
        case Verb.BACKOUT:
            return _backout(request, record)
        case Verb.INSPECT | Verb.BARRIER:
            return ()


def _expand(request: Request, record: Record) -> tuple[Verb, ...]:
    if record.state not in (State.NONE, State.BACKED_OUT):
        return ()
    _refuse_backed_out(request, record)
    return (Verb.EXPAND,)


def _bootstrap(request: Request, record: Record) -> tuple[Verb, ...]:
    """With no older version at work there is nobody to keep an old shape for, unless an upgrade made it."""
    contract = (Verb.CONTRACT,) if record.bootstrapped else ()
    match record.state:
        case State.EXPANDED:
            return (Verb.MIGRATE, *contract)
        case State.MIGRATED:
            return contract
        case State.CONTRACTED:
            return ()
        case _:
            _refuse_backed_out(request, record)
            return _WHOLE


def _migrate(record: Record, diverges: Callable[[Record], bool]) -> tuple[Verb, ...]:
    match record.state:
        case State.EXPANDED:
            return (Verb.MIGRATE,)
        case State.MIGRATED:
            return (Verb.MIGRATE,) if diverges(record) else ()
        case State.CONTRACTED:
            return ()
        case _:
            raise _out_of_order(record, "migrate", "expand")


def _contract(record: Record) -> tuple[Verb, ...]:
    match record.state:
        case State.MIGRATED:
            return (Verb.CONTRACT,)
        case State.CONTRACTED:
            return ()
        case _:
            raise _out_of_order(record, "contract", "migrate" if record.state is State.EXPANDED else "expand")


def _backout(request: Request, record: Record) -> tuple[Verb, ...]:
    if record.state is State.CONTRACTED:
        raise Refused(
            Reason.CONTRACT_COMMITTED,
            f"{record.version} is contracted: the old shape is gone, there is nothing to back out to",
            "go forward: mend the version that serves; or restore the database from a backup",
            version=record.version.text,
        )
    if record.state is State.BACKED_OUT and record.upgrade == request.upgrade:
        return ()
    return (Verb.BACKOUT,)


def _refuse_backed_out(request: Request, record: Record) -> None:
    if record.state is State.BACKED_OUT and record.upgrade == request.upgrade:
        raise Refused(
            Reason.BACKED_OUT,
            f"{record.version} was backed out in this upgrade ({request.upgrade})",
            "begin a new upgrade, with an id of its own",
            version=record.version.text,
        )


def _out_of_order(record: Record, verb: str, missing: str) -> Refused:
    return Refused(
        Reason.OUT_OF_ORDER,
        f"{verb} of {record.version}: the ledger says {record.state.value}",
        f"run {missing} for it first",
        version=record.version.text,
    )
