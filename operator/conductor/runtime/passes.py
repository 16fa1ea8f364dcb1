"""One pass: look, determine, plan, write the intent, make one effect."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus

import structlog

from conductor.adapters.clock import ServerClock
from conductor.adapters.kube import ApiError, ConflictError, Kube, Object
from conductor.api import names
from conductor.api.parse import UnknownStatusError, parse_status
from conductor.api.reasons import Reason
from conductor.api.status import Phase, ReceiptsStatus, ReleaseStatus
from conductor.domain.companion import field_of
from conductor.domain.conditions import held
from conductor.domain.decide import Decision, decide
from conductor.domain.effects import CreateObject, Effect, RewriteObject, SwitchServices
from conductor.domain.keeping import Known
from conductor.domain.plan import Announcement, Plan
from conductor.domain.sampling import Needs, needs
from conductor.domain.snapshot import Snapshot
from conductor.domain.trust import may_stand
from conductor.effects.hold_release import hold_release
from conductor.effects.make import make
from conductor.effects.write_status import write_status
from conductor.runtime import metrics
from conductor.runtime.announcer import Announcer
from conductor.runtime.receipt_sink import ReceiptSink
from conductor.runtime.samples import BackgroundSamples
from conductor.runtime.sight import Sight, settings
from conductor.runtime.turns import Key

_log = structlog.get_logger(__name__)

#: Whose release is another replica's is asked again this often; its leader's going wakes it at once.
_STANDBY_SECONDS = 300.0
#: One that moves is looked at again this often, whatever the watches show.
_UPGRADING_RESYNC_SECONDS = 5.0
#: What a newer operator left is looked at again when it changes, or after so long.
_HELD_SECONDS = 300.0
_RETRY_SECONDS = 1.0
_REFUSED_RETRY_SECONDS = 10.0


class RefusedWriteError(Exception):
    """The API server refuses an effect for good: rights, admission or quota. Somebody has to mend that."""

    def __init__(self, error: ApiError, effect: Effect, *, users_wait: bool) -> None:
        #: They are on a version that is gone back from.
        self.users_wait = users_wait
        field = field_of(effect.manifest) if isinstance(effect, CreateObject | RewriteObject) else ""
        super().__init__(
            f"{field and f'{field}: '}{effect.name} of {effect.subject} is refused by the API server "
            f"({error.message}); {'correct that field, or ' if field else ''}mend the operator's rights, the admission "
            "policy or the quota that it names"
        )


class Passes:
    """Runs passes; holds no memory of a release that may not get lost."""

    def __init__(
        self,
        kube: Kube,
        samples: BackgroundSamples,
        epoch: Callable[[str], int],
        new_upgrades: Callable[[], bool],
        sight: Sight,
        *,
        receipts: ReceiptSink,
        announcer: Announcer,
        press: Callable[[Key, bool], None],
        clock: ServerClock,
    ) -> None:
        """`press` is told which releases go before others: those whose candidate has users."""
        self._kube = kube
        self._samples = samples
        self._epoch = epoch
        self._new_upgrades = new_upgrades
        self._sight = sight
        self._receipts = receipts
        self._announcer = announcer
        self._press = press
        self._clock = clock

    def run(self, key: Key, late: float = 0.0) -> float | None:
        """One pass of `key`, begun `late` seconds after it was due.

        Seconds until the next one is due at the latest; None when the release is gone.
        """
        started = time.monotonic()
        try:
            return self._run(key, started - late)
        except ConflictError as conflict:
            self._sight.doubt(key)
            _log.info(
                "somebody wrote in between, deciding afresh",
                namespace=key[0],
                release=key[1],
                said=str(conflict),
            )
            return 0.0
        except UnknownStatusError as unknown:
            self._hold(key, unknown)
            return _HELD_SECONDS
        except RefusedWriteError as refusal:
            self._sight.doubt(key)
            self._report(key, refusal)
            return _RETRY_SECONDS if refusal.users_wait else _REFUSED_RETRY_SECONDS
        except ApiError as error:
            self._sight.doubt(key)
            metrics.PASS_ERRORS.labels(error.reason or str(error.status)).inc()
            _log.warning("pass failed", namespace=key[0], release=key[1], error=str(error))
            return _RETRY_SECONDS
        finally:
            metrics.PASS_SECONDS.observe(time.monotonic() - started)

    def _run(self, key: Key, due_at: float) -> float | None:
        namespace, name = key
        if (uid := self._sight.uid(key)) is None:
            self._let_go(key)
            return None
        if not (epoch := self._epoch(uid)):
            self._let_go(key)
            return _STANDBY_SECONDS
        seen = self._sight.look(
            key,
            self._decide,
            lambda s, decided: may_stand(s, decided[1].situation),
            **settings(self._clock, self._samples.newest(key), epoch, self._new_upgrades()),
        )
        if seen is None:
            self._let_go(key)
            return None
        if seen.snapshot.uid != uid:
            # Deleted and made again meanwhile, which may be another replica's now.
            self._sight.doubt(key)
            return 0.0
        metrics.LOOKS.labels(seen.basis).inc()
        metrics.DECISION_SECONDS.labels(seen.basis).observe(time.monotonic() - due_at)
        release, snapshot, (known, decision) = seen.release, seen.snapshot, seen.decision
        decided = decision.plan
        log = _log.bind(namespace=namespace, release=name, epoch=epoch)
        release = self._write(release, snapshot, decided, log)
        self._press(key, decided.status.upgrade is not None and decided.status.upgrade.took_traffic)
        self._announce(release, decided)
        if self._epoch(snapshot.uid) != epoch:
            # The writes of a deposed leader fail by their versions; the fewer it tries, the better.
            log.warning("no longer leading, the effect is left to the next leader")
            return _STANDBY_SECONDS
        if decided.effect is not None:
            if not self._receipts.before_effect(snapshot, decision):
                log.warning("receipts are not kept, the effect waits", effect=decided.effect.name)
                return 0.0
            self._sight.doubt(key)
            self._make(snapshot, decided, log)
        self._receipts.after_pass(snapshot, decision)
        self._samples.want(key, needs(replace(snapshot, status=decided.status)))
        retry = self._receipts.retry_after(snapshot)
        if known.trouble is not None and retry is None:
            # Receipts are kept again: what they held up may go on at once.
            return 0.0
        following = _next(decided, self._sight.left(key), self._clock.now())
        return following if retry is None else min(following, max(0.05, retry))

    def _let_go(self, key: Key) -> None:
        """The release is gone, or another replica's."""
        self._samples.want(key, Needs())
        self._press(key, False)
        self._receipts.forget(key)

    def _decide(self, s: Snapshot) -> tuple[Known, Decision]:
        known = self._receipts.known(s)
        return known, decide(s, known)

    def _write(
        self, release: Object, s: Snapshot, decided: Plan, log: structlog.typing.FilteringBoundLogger
    ) -> Object:
        if decided.status == s.status:
            return release
        written = write_status(self._kube, release, decided.status)
        self._sight.wrote(written)
        if decided.status.receipts is not None and "receipts" not in written["status"]:
            self._receipts.pruned(s)
        else:
            _tell_receipts(s.status, decided.status, log)
        metrics.STATUS_WRITES.inc()
        _count(s.status, decided.status)
        if (s.status.phase, s.status.reason) != (decided.status.phase, decided.status.reason):
            log.info(
                "transition",
                phase=str(decided.status.phase),
                reason=decided.status.reason,
                message=decided.status.message,
                upgrade=decided.status.upgrade.id if decided.status.upgrade else None,
            )
        return written

    def _announce(self, release: Object, decided: Plan) -> None:
        status = decided.status
        occasion = f"{status.sequence}/{status.traffic.reversions}/{status.observed_generation}"
        for announcement in decided.announcements:
            self._announcer.tell(release, occasion, announcement)

    def _hold(self, key: Key, unknown: UnknownStatusError) -> None:
        """A newer operator's status: nothing is decided on it, and nothing of it may get lost."""
        metrics.PASS_ERRORS.labels(Reason.NEWER_STATUS).inc()
        release = self._kube.get(names.KIND, *key)
        if release is None:
            return
        self._samples.want(key, Needs())
        generation, why = release["metadata"].get("generation", 0), str(unknown.finding)
        former = (release.get("status") or {}).get("conditions") or []
        try:
            if hold_release(self._kube, release, held(former, why, generation, self._clock.now())):
                _log.warning("status of a newer operator", namespace=key[0], release=key[1], said=why)
                told = Announcement(Reason.NEWER_STATUS, why, warning=True)
                self._announcer.tell(release, str(generation), told)
        except ApiError as error:
            _log.warning("release not held", namespace=key[0], release=key[1], error=str(error))

    def _report(self, key: Key, refusal: RefusedWriteError) -> None:
        metrics.PASS_ERRORS.labels(Reason.WRITE_FAILED).inc()
        release = self._kube.get(names.KIND, *key)
        if release is None:
            return
        status = parse_status(release.get("status"))
        told = status.model_copy(update={"reason": Reason.WRITE_FAILED, "message": str(refusal)})
        try:
            release = write_status(self._kube, release, told)
            self._sight.wrote(release)
            occasion = f"{status.sequence}/{status.observed_generation}"
            self._announcer.tell(
                release, occasion, Announcement(Reason.WRITE_FAILED, str(refusal), warning=True)
            )
        except ApiError as error:
            _log.warning("refused write not reported", namespace=key[0], release=key[1], error=str(error))

    def _make(self, s: Snapshot, decided: Plan, log: structlog.typing.FilteringBoundLogger) -> None:
        effect = decided.effect
        assert effect is not None
        intent = decided.status.receipts.open if decided.status.receipts else None
        started = time.monotonic()
        try:
            make(self._kube, s.namespace, s.name, effect)
        except ApiError as error:
            metrics.EFFECTS.labels(effect.name, "failed").inc()
            log.warning("effect failed", effect=effect.name, subject=effect.subject, error=str(error))
            self._receipts.reported(s, intent, error)
            if isinstance(error, ConflictError) or not HTTPStatus.BAD_REQUEST <= error.status < 500:
                raise
            raise RefusedWriteError(error, effect, users_wait=_users_wait(decided.status)) from error
        self._receipts.reported(s, intent)
        took_ms = 1000 * (time.monotonic() - started)
        metrics.EFFECTS.labels(effect.name, "done").inc()
        if isinstance(effect, SwitchServices):
            back = s.status.upgrade is not None and s.status.upgrade.failure is not None
            metrics.SWITCH_MS.labels("back" if back else "forward").observe(took_ms)
        log.info("effect", effect=effect.name, subject=effect.subject, ms=round(took_ms, 1))


def _users_wait(status: ReleaseStatus) -> bool:
    """Whether users are to be led back and are not yet."""
    upgrade = status.upgrade
    return status.phase is Phase.ROLLING_BACK and upgrade is not None and upgrade.switched_back_at is None


def _next(decided: Plan, read_in: float, now: datetime) -> float:
    if decided.again:
        return 0.0
    rest = _UPGRADING_RESYNC_SECONDS if decided.status.upgrade is not None else read_in
    if decided.wake_at is not None:
        rest = min(rest, (decided.wake_at - now).total_seconds())
    return max(0.05, rest)


def _tell_receipts(
    before: ReleaseStatus, after: ReleaseStatus, log: structlog.typing.FilteringBoundLogger
) -> None:
    """The log is a second copy of every receipt, word for word."""
    former, receipts = before.receipts or ReceiptsStatus(), after.receipts or ReceiptsStatus()
    made = receipts.sequence - former.sequence
    for line in receipts.outbox[-made:] if made > 0 else ():
        content = json.loads(line)
        metrics.RECEIPTS.labels(content["kind"]).inc()
        log.info("receipt", sequence=content["sequence"], kind=content["kind"], line=line)
    if receipts.folded is not None and receipts.folded != former.folded:
        log.warning("no room for receipts", transitions_folded=receipts.folded.count)


def _count(before: ReleaseStatus, after: ReleaseStatus) -> None:
    verdict = after.upgrade.last_verdict if after.upgrade else None
    former = before.upgrade.last_verdict if before.upgrade else None
    if verdict is not None and verdict != former:
        metrics.VERDICTS.labels(str(verdict.verdict)).inc()
    failure = after.upgrade.failure if after.upgrade else None
    if failure is not None and (before.upgrade is None or before.upgrade.failure is None):
        metrics.UPGRADE_ERRORS.labels(failure.reason).inc()
    if after.last_upgrade is not None and after.last_upgrade != before.last_upgrade:
        metrics.UPGRADES.labels(str(after.last_upgrade.outcome)).inc()
    contracted = after.contracted_after
    if contracted is not None and contracted != before.contracted_after:
        metrics.CONTRACTS.labels(contracted.sessions, contracted.pitr).inc()
    preview = _preview(after)
    if preview is not None and preview != _preview(before):
        metrics.PREVIEWS.labels(preview[-1]).inc()


def _preview(status: ReleaseStatus) -> tuple[str, str, str] | None:
    """The upgrade, by what its candidate is asked for, and what came of that."""
    upgrade = status.upgrade
    if upgrade is None or not upgrade.preview:
        return None
    return upgrade.id, upgrade.preview, "left_out" if upgrade.preview_left_out else "offered"
