"""Commands by annotation: which of them end the upgrade under way, and which cannot be followed."""

from collections.abc import Iterator

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import ContractState, Outcome, Phase, UpgradeStatus
from conductor.domain.phases.context import approved
from conductor.domain.phases.deferred_contract import possible
from conductor.domain.situation import Failing, Refusing
from conductor.domain.snapshot import Snapshot

_COMMANDS = {"rollback": names.ANNOTATION_ROLLBACK, "abort": names.ANNOTATION_ABORT}
_CONTRACT = "contract"


def commanded(s: Snapshot, upgrade: UpgradeStatus) -> Failing | None:
    """A command that names this upgrade; each is bound to its id, so that it can never hit the next one."""
    by_script = s.annotations.get(names.ANNOTATION_ROLLED_BACK_BY) == f"script/{upgrade.id}"
    if by_script and upgrade.from_revision in s.revisions:
        return Failing(Reason.ROLLED_BACK_BY_SCRIPT, "scripts/rollback.sh took the traffic back")
    if _nowhere_to_go(upgrade):
        return None
    if s.annotations.get(names.ANNOTATION_ROLLBACK) == upgrade.id:
        return Failing(Reason.ROLLBACK_REQUESTED, "a rollback was asked for by annotation")
    if s.annotations.get(names.ANNOTATION_ABORT) == upgrade.id:
        return Failing(Reason.ABORTED, "an abort was asked for by annotation", Outcome.ABORTED)
    return None


def _nowhere_to_go(upgrade: UpgradeStatus) -> bool:
    """Whether users may be on a first install: to take it back would be to take their last pods away."""
    return upgrade.took_traffic and not upgrade.from_revision


def refused(s: Snapshot) -> Refusing | None:
    """The first command that cannot be followed and was not answered yet."""
    for command, value in _given(s):
        key = f"{command}={value}"
        if key in s.status.handled_commands:
            continue
        if (reply := _reply(s, command, value)) is not None:
            return Refusing(key, *reply)
    return _contract_too_early(s)


def _contract_too_early(s: Snapshot) -> Refusing | None:
    """A contract step that was left for later, approved while an older version serves that it would cut off."""
    pending = s.status.pending_contract
    if pending is None or pending.state is not ContractState.PENDING or possible(s, pending):
        return None
    key = f"approve={pending.id}/{_CONTRACT}"
    if key in s.status.handled_commands or not approved(s, pending.id, _CONTRACT):
        return None
    return Refusing(
        key,
        Reason.COMMAND_REFUSED,
        f"approval of the contract step of {pending.to} is refused: {s.status.active_version} serves and needs what "
        f"that step removes; upgrade to {pending.to} or later first",
    )


def _given(s: Snapshot) -> Iterator[tuple[str, str]]:
    for command, annotation in _COMMANDS.items():
        if value := s.annotations.get(annotation):
            yield command, value


def _reply(s: Snapshot, command: str, value: str) -> tuple[Reason, str] | None:
    upgrade, last = s.status.upgrade, s.status.last_upgrade
    if upgrade is not None and upgrade.id == value:
        if _nowhere_to_go(upgrade):
            return (
                Reason.COMMAND_REFUSED,
                f"{command} of {value} is refused: before {upgrade.to} there was no version to go back to, and its "
                "Services may have users; go forward with a corrected version, or delete the release",
            )
        if s.status.phase is not Phase.CONTRACTING:
            return None
        return (
            Reason.CONTRACT_COMMITTED,
            f"{command} of {value} is refused: its contract step has begun and the older version cannot run on what "
            "it leaves; let it end, then go forward with a corrected version",
        )
    if last is not None and last.id == value:
        if last.outcome is not Outcome.SUCCEEDED:
            return None
        kept = s.status.standby_revision
        return (
            Reason.COMMAND_REFUSED,
            f"{command} of {value} is refused: that upgrade has ended; to go back set spec.rollbackTo: {kept}",
        )
    under_way = f"under way is {upgrade.id}" if upgrade else "none is under way"
    return (
        Reason.COMMAND_REFUSED,
        f"annotation {_COMMANDS[command]}: {value} names no upgrade ({under_way}); use the id in status.upgrade.id",
    )
