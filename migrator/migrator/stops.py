"""Why a run ends early: refused for good, or worth another try. Each says what is wrong and what mends it."""

from enum import StrEnum


class Reason(StrEnum):
    """Every reason an answer can give, in one place: the operator and people key on these words."""

    ARGUMENT_INVALID = "ArgumentInvalid"
    SETTING_INVALID = "SettingInvalid"
    DATABASE_URL_MISSING = "DatabaseUrlMissing"
    DATABASE_URL_INVALID = "DatabaseUrlInvalid"
    ENGINE_UNSUPPORTED = "EngineUnsupported"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    DATABASE_READ_ONLY = "DatabaseReadOnly"
    POOLER = "Pooler"
    CONNECTION_LOST = "ConnectionLost"
    INTERRUPTED = "Interrupted"
    FILES_INVALID = "FilesInvalid"
    LINT_REFUSED = "LintRefused"
    STAR_READERS = "StarReaders"
    DIGEST_CHANGED = "DigestChanged"
    LEDGER_NEWER = "LedgerNewer"
    LEDGER_BEHIND = "LedgerBehind"
    FAILED_OVER = "FailedOver"
    FOREIGN_CONTROL_PLANE = "ForeignControlPlane"
    SUPERSEDED = "Superseded"
    RUNNER_BUSY = "RunnerBusy"
    BACKED_OUT = "BackedOut"
    OUT_OF_ORDER = "OutOfOrder"
    REPLICA_UNREACHABLE = "ReplicaUnreachable"
    REPLICA_PAUSED = "ReplicaPaused"
    REPLICA_CUT = "ReplicaCut"
    REPLICA_BEHIND = "ReplicaBehind"
    REPLICA_DIVERGED = "ReplicaDiverged"
    REPLICA_PROMOTED = "ReplicaPromoted"
    REPLICA_FOREIGN = "ReplicaForeign"
    PERMIT_MISSING = "PermitMissing"
    PERMIT_SPENT = "PermitSpent"
    CONTRACT_COMMITTED = "ContractCommitted"
    BACKOUT_MISSING = "BackoutMissing"
    DIVERGENCE_LEFT = "DivergenceLeft"
    LOCK_NOT_GRANTED = "LockNotGranted"
    STATEMENT_TOO_LONG = "StatementTooLong"
    SQL_FAILED = "SqlFailed"
    OBJECT_DIFFERS = "ObjectDiffers"
    PHASE_BREACH = "PhaseBreach"
    TOOL_FAILED = "ToolFailed"
    STATE_UNEXPECTED = "StateUnexpected"
    RIGHTS_MISSING = "RightsMissing"
    LOGIN_MISSING = "LoginMissing"
    LOGIN_SHARED = "LoginShared"
    LOGINS_MIXED_UP = "LoginsMixedUp"
    SESSIONS_LEFT = "SessionsLeft"
    PREPARED_LEFT = "PreparedTransactions"
    UNEXPECTED = "Unexpected"


class Stop(Exception):  # noqa: N818 - a stop is an answer, not always an error
    """A run cannot go on. The sentence names field and value; `mend` says what to do."""

    exit_code = 1

    def __init__(
        self,
        reason: Reason,
        message: str,
        mend: str,
        *,
        version: str | None = None,
        divergence: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.mend = mend
        self.version = version
        self.divergence = divergence
        self.untouched = False


class Refused(Stop):
    """Trying the same again would end the same."""


class TryAgain(Stop):
    """Nothing is wrong with what was asked; the surroundings were."""

    exit_code = 2
