"""What the operator answers: `status` of a ControlPlaneRelease. Also the engine's only memory."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

from conductor.api.receipts import LINE_BYTES, OUTBOX_LINES
from conductor.api.spec import Colour, ContractPolicy, Logins

Message = Annotated[str, StringConstraints(max_length=4096)]
Short = Annotated[str, StringConstraints(max_length=253)]
ReceiptLine = Annotated[str, StringConstraints(max_length=LINE_BYTES)]
#: PostgreSQL counts them in 32 bits.
Timeline = Annotated[int, Field(ge=0, le=2**32 - 1)]
#: JSON carries whole numbers up to there, whoever reads it.
LedgerLine = Annotated[int, Field(ge=0, le=2**53)]


def format_instant(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, so that two steps within a second keep their order."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


Instant = Annotated[
    datetime,
    PlainSerializer(format_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40}),
]


class StatusModel(BaseModel):
    """Frozen, and lenient: fields that a newer operator wrote are carried along, so that it finds them again."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)


class Phase(StrEnum):
    PENDING = "Pending"
    BOOTSTRAPPING = "Bootstrapping"
    PREFLIGHT = "Preflight"
    EXPANDING = "Expanding"
    BRINGING_UP = "BringingUp"
    MIGRATING = "Migrating"
    VERIFYING = "Verifying"
    RAMPING = "Ramping"
    SWITCHING = "Switching"
    SOAKING = "Soaking"
    CLOSING = "Closing"
    CONTRACTING = "Contracting"
    STABLE = "Stable"
    ROLLING_BACK = "RollingBack"
    BACKING_OUT = "BackingOut"


class Verdict(StrEnum):
    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    NO_DATA = "NoData"
    ERROR = "Error"


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"
    REFUSED = "Refused"
    ABORTED = "Aborted"


class Condition(StatusModel):
    type: Short
    status: Literal["True", "False", "Unknown"]
    reason: Short
    message: Message = ""
    observed_generation: int | None = None
    last_transition_time: Instant | None = None


class TrafficStatus(StatusModel):
    current: Colour | None = None
    blue: int = 0
    green: int = 0
    switched_at: Instant | None = None
    converged_at: Instant | None = None
    reversions: int = 0
    #: Resource versions that the last switch was decided on, by Service: where one has not moved, nobody changed it.
    #: A new leader's claim moves it; its epoch stands here then.
    intended: dict[str, Short] = Field(default_factory=dict)
    #: HTTPRoutes in our hand: they may lead to the colours' own Services, and are given back as their owner wrote them.
    routes: tuple[Short, ...] = Field(default=(), max_length=32)


class VerdictStatus(StatusModel):
    verdict: Verdict
    requests: int | None = None
    errors: int | None = None
    p95_ms: float | None = None
    at: Instant
    message: Message = ""


class TimelineEntry(StatusModel):
    phase: Phase
    started_at: Instant
    ended_at: Instant | None = None


class Intent(StatusModel):
    """The effect that is about to be made; written before it is."""

    effect: Short
    subject: Short = ""
    at: Instant


class Failure(StatusModel):
    reason: Short
    message: Message
    outcome: Outcome


class Migrator(StatusModel):
    """What an upgrade's Jobs run with, as the spec said when the first one was made."""

    image: Message
    secret_name: Short
    secret_key: Short
    replica_keys: tuple[Short, ...] = Field(default=(), max_length=8)
    logins: Logins | None = None
    contract: ContractPolicy


class UpgradeStatus(StatusModel):
    id: Short
    sequence: int
    from_: Short = Field(default="", alias="from")
    to: Short
    from_revision: Short = ""
    to_revision: Short
    to_colour: Colour
    from_colour: Colour | None = None
    step: int = 0
    step_at: Instant | None = None
    #: When routes were given the weights of this step.
    weighed_at: Instant | None = None
    attempt: int = 1
    started_at: Instant
    phase_started_at: Instant
    deadline: Instant | None = None
    healthy_since: Instant | None = None
    last_verdict: VerdictStatus | None = None
    decided_at: Instant | None = None
    switched_at: Instant | None = None
    switched_back_at: Instant | None = None
    took_traffic: bool = False
    expanded: bool = False
    #: A person let the backout lose the rows that it named.
    accept_loss: bool = False
    migrator: Migrator | None = None
    #: How the active colour did before the expand step; none where nobody looked.
    active_before: Verdict | None = None
    hotfix: bool = False
    stays: bool = False
    #: By what requests can ask for the candidate, and how often its routes were given rules for that.
    preview: Short = ""
    previewed: int = 0
    #: That cannot be had, or somebody takes it away: the upgrade goes on without. And why.
    preview_left_out: bool = False
    preview_gap: Message = ""
    #: Ways through Gateways on which the former version answered before the switch: there the new one is waited for.
    gateways: tuple[Message, ...] = Field(default=(), max_length=64)
    #: Since when nothing but the candidate's images on every node is waited for; and that they are no longer.
    pre_pull_since: Instant | None = None
    pre_pull_told: bool = False
    paused_at: Instant | None = None
    served: dict[str, int] = Field(default_factory=dict)
    #: Which template of each Deployment of the former version ran at the switch: that is what a rollback goes back to.
    standby_rollouts: dict[str, Short] = Field(default_factory=dict)
    failure: Failure | None = None
    intent: Intent | None = None
    timeline: tuple[TimelineEntry, ...] = Field(default=(), max_length=40)


class LastUpgrade(StatusModel):
    id: Short
    from_: Short = Field(default="", alias="from")
    to: Short
    outcome: Outcome
    reason: Short
    message: Message = ""
    started_at: Instant
    ended_at: Instant
    decided_at: Instant | None = None
    switched_at: Instant | None = None
    switched_back_at: Instant | None = None
    timeline: tuple[TimelineEntry, ...] = Field(default=(), max_length=40)


class BackfillProgress(StatusModel):
    """What the running migrate Job says of itself; people read it, nothing is decided on it."""

    job: Short
    rows_done: int
    rows_total: int
    rows_per_second: int | None = None
    ends_at: Instant | None = None
    at: Instant


class ContractedAfter(StatusModel):
    """The moment before the last contract step: the end of a restore that would take it back."""

    lsn: Short
    at: Instant
    timeline: int | None = None
    #: As far as the server shows: `verified` or `unverified`, and why.
    pitr: Short = "unverified"
    pitr_reason: Message = ""
    #: `proven`: none of the old version's were left. `unproven`: that was a person's word.
    sessions: Short = "unproven"


class ReplicaStatus(StatusModel):
    """What a replica of the release showed when the last Job ended; people read it, nothing is decided on it."""

    endpoint: Short
    #: `ok`: it has all that the primary had then; else the reason that kept it from counting so.
    state: Short
    #: Replayed.
    lsn: Short = ""
    ledger_line: LedgerLine | None = None
    #: That it receives.
    timeline: Timeline | None = None


class MigrationsStatus(StatusModel):
    """A cache of what the last Job said; the ledger in the database is the truth."""

    state: Short = ""
    verb: Short = ""
    version: Short = ""
    digest: Short = ""
    divergence: int | None = None
    rows_done: int | None = None
    rows_total: int | None = None
    ledger_line: int | None = None
    message: Message = ""
    contract_pending: tuple[Short, ...] = Field(default=(), max_length=50)
    progress: BackfillProgress | None = None
    contracted_after: ContractedAfter | None = None
    #: The primary that keeps the ledger; empty where the Job's role may not ask for it.
    system_id: Short = ""
    timeline: Timeline | None = None
    replicas: tuple[ReplicaStatus, ...] = Field(default=(), max_length=8)


class ContractState(StrEnum):
    PENDING = "Pending"
    COMMITTED = "Committed"
    FAILED = "Failed"


class PendingContract(StatusModel):
    """A contract step that its upgrade left for later. `Committed` is the intent that closes the way back."""

    id: Short
    from_: Short = Field(default="", alias="from")
    to: Short
    revision: Short
    policy: ContractPolicy
    image: Message
    secret_name: Short
    secret_key: Short
    replica_keys: tuple[Short, ...] = Field(default=(), max_length=8)
    #: The role that the old version logged in with; empty where none was declared for it.
    login: Short = ""
    logins: Logins | None = None
    state: ContractState = ContractState.PENDING
    attempt: int = 1
    message: Message = ""


class PendingBackout(StatusModel):
    """An expand step that stays after its upgrade was taken back. `Committed`: a person let it be taken back."""

    id: Short
    from_: Short = Field(default="", alias="from")
    to: Short
    image: Message
    secret_name: Short
    secret_key: Short
    state: ContractState = ContractState.PENDING
    attempt: int = 1
    accept_loss: bool = False
    message: Message = ""


class OpenIntent(StatusModel):
    """The intent that has no outcome yet; its sequence is 0 while its receipt is folded."""

    sequence: int
    effect: Short
    subject: Message = ""


class FoldedReceipts(StatusModel):
    """Transitions that found no room in the outbox; one receipt will tell how many they were."""

    count: int
    since: Instant


class ReceiptsStatus(StatusModel):
    """The head of the release's chain of receipts, and those of them that the sink may not have yet.

    Lines are kept as they were written: a schema that knows fewer members must not be able to prune them.
    """

    sequence: int = 0
    hash: Short = ""
    open: OpenIntent | None = None
    outbox: tuple[ReceiptLine, ...] = Field(default=(), max_length=OUTBOX_LINES)
    folded: FoldedReceipts | None = None


class ReleaseStatus(StatusModel):
    observed_generation: int = 0
    epoch: int = 0
    phase: Phase = Phase.PENDING
    reason: Short = ""
    message: Message = ""
    conditions: tuple[Condition, ...] = Field(default=(), max_length=16)
    traffic: TrafficStatus = TrafficStatus()
    active_revision: Short = ""
    active_version: Short = ""
    candidate_revision: Short = ""
    standby_revision: Short = ""
    last_good_revision: Short = ""
    schema_floor: Short = ""
    failed_digest: Short = ""
    handled_commands: tuple[Short, ...] = Field(default=(), max_length=20)
    sequence: int = 0
    upgrade: UpgradeStatus | None = None
    last_upgrade: LastUpgrade | None = None
    migrations: MigrationsStatus | None = None
    pending_contract: PendingContract | None = None
    pending_backout: PendingBackout | None = None
    contracted_after: ContractedAfter | None = None
    #: The role that the last contract step fenced; the next upgrade's expand step gives it LOGIN again.
    fenced_login: Short = ""
    #: An autoscaler or a disruption budget was made, and not all are gone: they are looked for, whoever asks for none.
    sized: bool = False
    receipts: ReceiptsStatus | None = None

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if it was ever set."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
