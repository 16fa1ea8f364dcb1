"""determine(snapshot) -> situation: the one place that decides what a release needs now.

Order matters and is the whole of the policy: what protects users first (ownership of the traffic
objects, commands to go back), then the phase under way, then the start of something new.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import DeletionPolicy
from conductor.api.status import Outcome, Phase, UpgradeStatus
from conductor.domain.adoption import (
    adoption,
    given_back,
    hold_still,
    send_away,
)
from conductor.domain.claims import unclaimed
from conductor.domain.commands import commanded, refused
from conductor.domain.dispute import moved_again, put_back
from conductor.domain.effects import (
    ClaimObjects,
    DeleteObjects,
    ReleaseFinalizer,
)
from conductor.domain.phases.bring_up import bringing_up
from conductor.domain.phases.closing import closing
from conductor.domain.phases.context import Context
from conductor.domain.phases.deferred_backout import backout_asked_for, backout_at_rest, committed_backout
from conductor.domain.phases.deferred_contract import asked_for, at_rest, committed
from conductor.domain.phases.migration import contracting, expanding, migrating
from conductor.domain.phases.preflight import is_hotfix, preflight, record
from conductor.domain.phases.ramping import ramping
from conductor.domain.phases.rollback import backing_out, rolling_back
from conductor.domain.phases.soaking import soaking
from conductor.domain.phases.surge import at_rest as sized_at_rest
from conductor.domain.phases.surge import forgotten
from conductor.domain.phases.surge import held as size_held
from conductor.domain.phases.switching import switching
from conductor.domain.phases.verifying import verifying
from conductor.domain.pods import lost_readiness
from conductor.domain.prune import left_behind
from conductor.domain.repair import BEFORE_SWITCH, former_lost, repair, repair_in_upgrade
from conductor.domain.revision import Revision
from conductor.domain.routing import endpoints_gap
from conductor.domain.signals import trouble
from conductor.domain.situation import (
    Acting,
    Advancing,
    Ending,
    Failing,
    Refusing,
    Rejecting,
    Situation,
    Starting,
    Waiting,
)
from conductor.domain.snapshot import Snapshot, policy
from conductor.domain.standing import standing
from conductor.domain.traffic.choice import owners_routes, traffic_of
from conductor.domain.versioned import publish

PHASES: dict[Phase, Callable[[Context], Situation]] = {
    Phase.BOOTSTRAPPING: preflight,
    Phase.PREFLIGHT: preflight,
    Phase.EXPANDING: expanding,
    Phase.BRINGING_UP: bringing_up,
    Phase.MIGRATING: migrating,
    Phase.VERIFYING: verifying,
    Phase.RAMPING: ramping,
    Phase.SWITCHING: switching,
    Phase.SOAKING: soaking,
    Phase.CLOSING: closing,
    Phase.CONTRACTING: contracting,
    Phase.ROLLING_BACK: rolling_back,
    Phase.BACKING_OUT: backing_out,
}
AFTER_SWITCH = frozenset({Phase.SOAKING, Phase.CLOSING, Phase.CONTRACTING, Phase.STABLE})
GOING_BACK = frozenset({Phase.ROLLING_BACK, Phase.BACKING_OUT})
#: Going back has its own moment for autoscalers and budgets, and between switch and proof nothing else is written.
_SIZED_BY_THEMSELVES = GOING_BACK | {Phase.SWITCHING}
#: Users are on the candidate, some or all, and may be taken back from it.
_ON_TRIAL = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING})
#: Between the switch and its proof, and once a contract step is committed, to stand still is the greater risk.
HELD_BY_PAUSE = BEFORE_SWITCH | {Phase.SOAKING, Phase.CLOSING}


def determine(s: Snapshot) -> Situation:
    """What this snapshot amounts to."""
    if s.deleting:
        return _deleting(s)
    if s.spec is not None and (s.spec.deletion_policy is DeletionPolicy.DELETE) != (
        names.FINALIZER in s.finalizers
    ):
        wanted = s.spec.deletion_policy is DeletionPolicy.DELETE
        return Acting(
            ReleaseFinalizer(wanted), Reason.STARTED, "keeping the finalizer in step with deletionPolicy"
        )
    situation = _situation(s)
    idle = s.status.upgrade is None and isinstance(situation, Waiting | Rejecting | Refusing)
    # A release at rest costs a new leader no write: nothing is decided about it.
    if not idle and (claims := unclaimed(s)):
        return Acting(
            ClaimObjects(claims, s.epoch),
            Reason.CLAIMING_EPOCH,
            f"claiming {len(claims)} object(s) for epoch {s.epoch}",
        )
    return situation


def _situation(s: Snapshot) -> Situation:
    if (refusal := refused(s)) is not None:
        return refusal
    if s.status.upgrade is None:
        return forgotten(s, _steady(s))
    return _upgrading(s, s.status.upgrade)


def _upgrading(s: Snapshot, upgrade: UpgradeStatus) -> Situation:
    to = s.revision(upgrade.to_revision)
    if to is None:
        if s.digest == upgrade.to_revision and (pending := record(s)) is not None:
            return pending
        return _record_lost(s, upgrade)
    context = Context(s, upgrade, to, s.revision(upgrade.from_revision))
    phase = s.status.phase
    if phase not in GOING_BACK and (command := _change_of_mind(context)) is not None:
        return command
    if (lost := former_lost(context)) is not None:
        return lost
    if (missing := repair_in_upgrade(context)) is not None:
        # The API server may refuse it again and again: that keeps nobody on a version that fails.
        failing = PHASES[phase](context) if phase in _ON_TRIAL else None
        return failing if isinstance(failing, Failing) else missing
    if phase not in GOING_BACK and (dispute := _reverted(context)) is not None:
        return dispute
    # The live spec's word, also where an upgrade to a kept revision goes by that one's own settings.
    paused = (s.spec or context.spec).paused and phase in HELD_BY_PAUSE
    if upgrade.paused_at is not None and not paused:
        return _resumed(context, upgrade.paused_at)
    situation = PHASES[phase](context)
    if not isinstance(situation, Failing) and phase not in _SIZED_BY_THEMSELVES:
        situation = size_held(context) or situation
    if paused and not isinstance(situation, Waiting | Failing):
        since = {"paused_at": upgrade.paused_at or s.now}
        return Waiting(Reason.PAUSED, "spec.paused is true; set it to false to go on", changes=since)
    return _with_what_waits(context, situation)


def _with_what_waits(context: Context, situation: Situation) -> Situation:
    """Whoever asked for another version since the switch is told what it waits for."""
    s, upgrade = context.s, context.upgrade
    if not isinstance(situation, Waiting) or s.spec is None or s.status.phase in BEFORE_SWITCH:
        return situation
    wanted, version = _wanted(s)
    if wanted in (None, upgrade.to_revision, upgrade.from_revision):
        return situation
    return replace(situation, message=f"{situation.message}; {version} waits for the end of this upgrade")


def _resumed(context: Context, paused_at: datetime) -> Advancing:
    """Go on with as much time left before the deadline as there was when the pause began to hold something back."""
    deadline = context.upgrade.deadline
    left = deadline + (context.s.now - paused_at) if deadline is not None else None
    changes = {"paused_at": None, "deadline": left}
    return Advancing(context.s.status.phase, Reason.RESUMED, "spec.paused is false again", changes)


def _record_lost(s: Snapshot, upgrade: UpgradeStatus) -> Situation:
    """Somebody deleted the record of the candidate, and the spec no longer says what it was."""
    if upgrade.took_traffic:
        return Waiting(
            Reason.UNKNOWN_REVISION,
            f"ControllerRevision {names.revision_name(s.name, upgrade.to_revision)} is gone while users may be on "
            f"{upgrade.to}; nothing is changed until it is restored, or spec asks for {upgrade.to} again",
            stalled=True,
        )
    if s.status.phase in GOING_BACK:
        return Ending(
            Outcome.ABORTED, Reason.SUPERSEDED, f"the record of {upgrade.to} is gone, and so is its spec"
        )
    return Failing(Reason.SUPERSEDED, f"the record of {upgrade.to} is gone", Outcome.ABORTED)


def _change_of_mind(context: Context) -> Failing | None:
    """Commands and spec changes that end this upgrade; the newest word wins over the phase's own work."""
    s, upgrade, phase = context.s, context.upgrade, context.s.status.phase
    if phase is Phase.CONTRACTING or upgrade.stays:
        return None
    if (command := commanded(s, upgrade)) is not None:
        return command
    if s.spec is None or upgrade.to_revision == (s.spec.rollback_to or s.digest):
        return None
    if s.spec.rollback_to and s.spec.rollback_to == upgrade.from_revision:
        return Failing(Reason.ROLLBACK_TO, f"spec.rollbackTo names {upgrade.from_}", Outcome.ABORTED)
    if s.digest == upgrade.from_revision and not s.spec.rollback_to:
        return Failing(Reason.SPEC_REVERTED, f"spec went back to {upgrade.from_}", Outcome.ABORTED)
    if phase in BEFORE_SWITCH:
        return Failing(Reason.SUPERSEDED, f"spec changed to version {s.spec.version}", Outcome.ABORTED)
    return None


def _reverted(context: Context) -> Situation | None:
    """Somebody else pointed a Service away from the active revision, maybe at a candidate that nobody proved."""
    s, from_ = context.s, context.from_
    if from_ is None:
        return None
    if s.status.phase in AFTER_SWITCH:
        dispute = put_back(s, context.to)
        dispute = moved_again(dispute, s.now) if dispute is not None else None
    elif s.status.phase in BEFORE_SWITCH and not (
        s.status.phase is Phase.RAMPING and context.upgrade.took_traffic
    ):
        dispute = put_back(s, from_)
        if isinstance(dispute, Acting | Waiting) and traffic_of(s).may_lead_to(context.to):
            # It may have written meanwhile: from here on it is taken back as one that had users.
            dispute = replace(dispute, changes={**dispute.changes, "took_traffic": True})
    else:
        return None
    # A version that cannot take its users back is the phase's own matter.
    return None if isinstance(dispute, Waiting) and dispute.reason is Reason.TARGET_NOT_READY else dispute


def _steady(s: Snapshot) -> Situation:
    active = s.active
    if active is None and s.status.active_revision:
        return _active_unknown(s)
    if (taken := adoption(s, active)) is not None:
        return taken
    if (found := standing(s)) is not None:
        return found
    if active is not None and (upkeep := _upkeep(s, active)) is not None:
        return upkeep
    if (left := committed(s) or committed_backout(s)) is not None:
        return left
    if s.spec is None:
        first = "; ".join(str(finding) for finding in s.findings[:5])
        return Rejecting(Reason.INVALID_SPEC, first)
    wanted, version = _wanted(s)
    if wanted is None:
        return Rejecting(
            Reason.UNKNOWN_REVISION,
            f"spec.rollbackTo: {s.spec.rollback_to} is not a kept revision; kept are "
            f"{', '.join(sorted(s.revisions)) or 'none'}",
        )
    if (
        (active is None or wanted != active.hash)
        and (kept := s.revision(wanted)) is not None
        and kept.adopted
    ):
        return Rejecting(
            Reason.ADOPTED_CLOSED,
            f"spec.rollbackTo: {wanted} is what was adopted, and its window is closed; take rollbackTo out, and bring "
            f"{version} back as a version of its own",
        )
    if not s.spec.paused and (asked := _left_and_asked_for(s, wanted, version)) is not None:
        return asked
    if active is not None and wanted == active.hash:
        if (left := left_behind(s, active)) is not None:
            return left
        still = at_rest(s) or backout_at_rest(s) or Waiting(Reason.STABLE, f"{active.version} serves")
        return _unserved(s, active) or still
    return _something_new(s, active, wanted, version)


def _left_and_asked_for(s: Snapshot, wanted: str, version: str) -> Situation | None:
    """What a former upgrade left, where a person lets it be done now."""
    given_up = wanted == s.status.failed_digest and not _try_again(s)
    coming = "" if given_up or wanted == s.status.active_revision else version
    return asked_for(s, version) or backout_asked_for(s, coming)


def _unserved(s: Snapshot, active: Revision) -> Waiting | None:
    """Nothing is under way, and yet users are not served: said, although there is nothing here to be done."""
    lost = lost_readiness(s, active)
    if lost is None:
        return None
    found = trouble(s, active)
    return Waiting(
        Reason.ACTIVE_NOT_SERVING,
        f"{active.version} does not serve: {lost}{f'; {found[1]}' if found else ''}",
    )


def _something_new(s: Snapshot, active: Revision | None, wanted: str, version: str) -> Situation:
    """The spec asks for another revision than the one that serves: start, or say why not."""
    if wanted == s.status.failed_digest and not _try_again(s):
        last = s.status.last_upgrade
        why = f"{last.reason}: {last.message}" if last else "it failed"
        retry = f"{names.ANNOTATION_RETRY}={last.id}" if last else names.ANNOTATION_RETRY
        mend = "" if retry in why else f"; change what runs, or mend that and annotate {retry}"
        return Waiting(
            Reason.ROLLED_BACK, f"version {version} is not tried again ({why}){mend}", stalled=True
        )
    if s.spec is not None and s.spec.paused:
        return Waiting(Reason.PAUSED, "spec.paused is true; set it to false to start the upgrade")
    if not s.new_upgrades:
        return Waiting(Reason.PAUSED, "the operator's flag bluegreen_cp is off: no new upgrade starts")
    if wanted == s.digest and (pending := record(s)) is not None:
        return pending
    phase = Phase.PREFLIGHT if active is not None else Phase.BOOTSTRAPPING
    return Starting(wanted, version, phase, f"upgrading to {version}" if active else f"installing {version}")


def _active_unknown(s: Snapshot) -> Situation:
    """Somebody deleted the record of what serves, or a newer operator wrote it: it is left as it is."""
    active = s.status.active_revision
    if s.digest == active and (pending := record(s)) is not None:
        return pending
    return Waiting(
        Reason.UNKNOWN_REVISION,
        f"ControllerRevision {names.revision_name(s.name, active)} of {s.status.active_version}, which serves, is gone "
        f"or cannot be read; restore it, or let spec ask for {s.status.active_version} as it runs",
        stalled=True,
    )


def _upkeep(s: Snapshot, active: Revision) -> Situation | None:
    """What must be true of the active revision before anything new begins."""
    if (other := hold_still(s, active) or send_away(s, active)) is not None:
        return other
    if (missing := repair(s, active)) is not None:
        return missing
    if (dispute := put_back(s, active)) is not None:
        return dispute
    if (sized := sized_at_rest(s, active)) is not None:
        return sized
    # Nothing is under way: a route may name the Service again, which leads where the route does.
    if endpoints_gap(s, active) is None and (given := owners_routes(s, active)) is not None:
        return given
    name = policy(s, active).traffic.config_map
    colour = str(s.status.traffic.current)
    if name is not None and s.published_colour != colour:
        return Acting(
            publish(s, name, colour),
            Reason.PUBLISHING_COLOUR,
            f"publishing {colour} in ConfigMap {name}",
        )
    return None


def _wanted(s: Snapshot) -> tuple[str | None, str]:
    """Hash and version of the revision that the user wants to serve."""
    if s.spec is None:
        return None, ""
    if s.spec.rollback_to:
        kept = s.revision(s.spec.rollback_to)
        return (kept.hash, kept.version) if kept else (None, "")
    return s.digest, s.spec.version


def _try_again(s: Snapshot) -> bool:
    """A retry by command, or a hotfix: the word that was missing when the active revision did not serve."""
    last = s.status.last_upgrade
    if last is None:
        return False
    asked = s.annotations.get(names.ANNOTATION_RETRY) == last.id
    return asked or (last.reason == Reason.ACTIVE_NOT_SERVING and s.spec is not None and is_hotfix(s.spec))


def _deleting(s: Snapshot) -> Situation:
    if names.FINALIZER not in s.finalizers:
        return Waiting(Reason.CLEANING_UP, "the release is being deleted; what serves stays")
    if s.spec is None or s.spec.deletion_policy is not DeletionPolicy.DELETE:
        why = "deletionPolicy is Orphan" if s.spec else "the spec cannot be read, and with it deletionPolicy"
        return Acting(ReleaseFinalizer(False), Reason.CLEANING_UP, f"{why}: what serves stays")
    if (given := given_back(s)) is not None:
        return given
    if s.active is not None and (routes := owners_routes(s, s.active)) is not None:
        return routes
    objects: list[tuple[str, str]] = [
        ("Service", name) for name, service in sorted(s.services.items()) if service.release == s.name
    ]
    objects += [("Deployment", workload.name) for workload in s.workloads]
    objects += [(item.kind, item.name) for item in s.companions or ()]
    objects += [("Job", name) for name in sorted(s.jobs)]
    objects += [("ConfigMap", name) for name in sorted(s.config_maps)]
    objects += [("ControllerRevision", names.revision_name(s.name, hash_)) for hash_ in sorted(s.revisions)]
    if objects:
        return Acting(
            # Somebody asked for the end of all of it: no version of it is worth keeping.
            DeleteObjects(tuple(objects)),
            Reason.CLEANING_UP,
            "deletionPolicy is Delete: removing everything",
        )
    return Acting(ReleaseFinalizer(False), Reason.CLEANING_UP, "everything is removed")
