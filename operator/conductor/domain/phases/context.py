"""What every phase is given: the snapshot, the upgrade under way, and the revisions it moves between."""

from dataclasses import dataclass
from datetime import datetime

from conductor.api.names import ANNOTATION_APPROVE
from conductor.api.reasons import Reason
from conductor.api.spec import Migrations, ReleaseSpec, SecretKey
from conductor.api.status import Migrator, Outcome, UpgradeStatus, Verdict, VerdictStatus
from conductor.domain.logins import declared, role_of
from conductor.domain.revision import Revision
from conductor.domain.situation import Failing, Situation, Waiting
from conductor.domain.snapshot import Snapshot, policy
from conductor.domain.traffic.choice import traffic_of
from conductor.domain.verdicts import judge


@dataclass(frozen=True)
class Context:
    """One phase's view. `spec` is the live spec where it is valid, else the candidate's recorded one."""

    s: Snapshot
    upgrade: UpgradeStatus
    to: Revision
    from_: Revision | None

    @property
    def spec(self) -> ReleaseSpec:
        return policy(self.s, self.to)

    def verdict(self) -> VerdictStatus:
        """The health of the candidate now."""
        return judge(self.s.health, self.to.hash, self.spec.traffic.switch_health, self.s.now)

    def approved(self, step: str) -> bool:
        """Whether a person approved that step of this very upgrade."""
        return approved(self.s, self.upgrade.id, step)

    @property
    def migrations(self) -> Migrations | None:
        """What Jobs run with. Taken out of the spec in mid-upgrade, it still ends what it began.

        The record of a version does not tell: it may be of a try before, with other migrations or none.
        """
        if self.spec.migrations or not self.upgrade.expanded:
            return self.spec.migrations
        kept = self.upgrade.migrator
        if kept is None:
            return self.to.spec.migrations
        secret = SecretKey(name=kept.secret_name, key=kept.secret_key)
        return Migrations(
            image=kept.image,
            database_secret_ref=secret,
            replica_keys=kept.replica_keys,
            logins=kept.logins,
            contract=kept.contract,
        )

    @property
    def migrator(self) -> Migrator | None:
        """The same as the status keeps it."""
        if self.migrations is None:
            return None
        secret = self.migrations.database_secret_ref
        return Migrator(
            image=self.migrations.image,
            secret_name=secret.name,
            secret_key=secret.key,
            replica_keys=self.migrations.replica_keys,
            logins=self.migrations.logins,
            contract=self.migrations.contract,
        )

    @property
    def old_login(self) -> str:
        """The role that the version which goes logs in with; empty where none was declared for it."""
        return declared(self.from_, self.upgrade.from_colour)

    @property
    def new_login(self) -> str:
        """The same of the version that comes."""
        return role_of(self.migrations.logins, self.upgrade.to_colour) if self.migrations else ""

    def past(self, deadline: datetime | None) -> bool:
        """Whether that moment has come; while a pause holds the upgrade, its clock stands."""
        return deadline is not None and (self.upgrade.paused_at or self.s.now) >= deadline


def ramps(context: Context) -> bool:
    """Whether users are moved in steps."""
    from_ = context.from_
    return from_ is not None and bool(context.spec.traffic.ramp) and traffic_of(context.s).can_ramp(from_)


def approved(s: Snapshot, upgrade: str, step: str) -> bool:
    """Whether a person approved that step of that very upgrade."""
    given = {part.strip() for part in s.annotations.get(ANNOTATION_APPROVE, "").split(",")}
    return f"{upgrade}/{step}" in given


def approval(s: Snapshot, upgrade: str, step: str) -> str:
    """The command that approves it."""
    return f"kubectl annotate cpr {s.name} --overwrite {ANNOTATION_APPROVE}={upgrade}/{step}"


def explain(verdict: VerdictStatus, spec: ReleaseSpec) -> str:
    """The verdict in words, with the field and the mend where Prometheus is the trouble."""
    url = spec.metrics.prometheus.url
    if verdict.verdict is Verdict.ERROR:
        return (
            f"spec.metrics.prometheus.url: {url} does not answer ({verdict.message}); correct the URL or "
            "let the operator's namespace reach it"
        )
    if verdict.verdict is Verdict.NO_DATA and verdict.requests:
        return f"{verdict.message}; our own requests add to them"
    if verdict.verdict is Verdict.NO_DATA:
        return (
            f"spec.metrics.prometheus: {url} gives no verdict ({verdict.message}); see that the pods are scraped "
            "(labels namespace and pod) and that the preset or queries fit their metrics"
        )
    return verdict.message


def failing_verdict(verdict: VerdictStatus) -> Failing:
    """The candidate broke its limits."""
    return Failing(Reason.UNHEALTHY, verdict.message, Outcome.ROLLED_BACK, {"last_verdict": verdict})


def approval_wait(context: Context, step: str) -> Situation:
    """Waiting for a person."""
    return Waiting(
        Reason.AWAITING_APPROVAL,
        f"waits for approval: {approval(context.s, context.upgrade.id, step)}",
    )
