"""The active colour on the expanded schema: what users are on has to stay well before anybody gets the candidate.

Looked at from the end of the expand step until the candidate is verified. Compared with how it did before: an
upgrade is often the cure of a version that does badly, and that one is not the expand step's doing.
"""

from datetime import timedelta
from typing import Any

from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Verdict, VerdictStatus
from conductor.domain.phases.context import Context
from conductor.domain.revision import Revision
from conductor.domain.situation import Failing, Waiting
from conductor.domain.verdicts import judge

#: A sample comes after two seconds, or not at all; a migration does not wait for longer than it takes Prometheus to
#: be given up.
_BASELINE_PATIENCE = timedelta(seconds=4)


def before_expanding(context: Context) -> Waiting | dict[str, Any]:
    """What is noted of the active colour with the expand step's intent, or the moment that it takes to be asked."""
    s, active = context.s, context.from_
    if active is None or context.upgrade.active_before is not None:
        return {}
    asked_until = context.upgrade.phase_started_at + _BASELINE_PATIENCE
    if (s.health is None or s.health.revision != active.hash) and s.now < asked_until:
        said = f"asking how {active.version} does before the expand step"
        return Waiting(Reason.EXPANDING, said, asked_until)
    return {"active_before": _verdict(context, active).verdict}


def hurt_by_expanding(context: Context) -> Failing | None:
    """The active colour broke its limits on the expanded schema. No data, and it alone, is no reason."""
    active, before = context.from_, context.upgrade.active_before
    if active is None or not context.upgrade.expanded or before in (None, Verdict.UNHEALTHY):
        return None
    if context.upgrade.hotfix:
        # It did not serve before either.
        return None
    verdict = _verdict(context, active)
    if verdict.verdict is not Verdict.UNHEALTHY:
        return None
    return Failing(
        Reason.ACTIVE_UNHEALTHY,
        f"spec.migrations: {active.version}, which serves, is not healthy since the expand step ({verdict.message}); "
        f"the step is taken back, correct what it changes under {active.version}",
        Outcome.REFUSED,
    )


def _verdict(context: Context, active: Revision) -> VerdictStatus:
    return judge(context.s.health, active.hash, context.spec.traffic.switch_health, context.s.now)
