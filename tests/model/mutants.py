"""Deliberate bugs, at least one for each invariant that the model sees: each must be found, or the model is blind.

A mutant replaces a function of the domain, or takes away a rule of the API server, while one configuration is
explored. Each breaks exactly what its name says.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.model.bounds import API, WORKER, Bounds, Part
from tests.model.broken import LIVENESS
from tests.model.mutant import Mutant, always, never, of
from tests.model.mutants_of_adoption import OF_ADOPTION
from tests.model.writes import Api

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Component, Handover
from conductor.api.status import Outcome, Phase, UpgradeStatus, Verdict, VerdictStatus
from conductor.domain import conditions, determine, dispute, plan
from conductor.domain.commands import commanded
from conductor.domain.effects import ApplyObject, CreateObject, SwitchServices
from conductor.domain.manifests import migration_job
from conductor.domain.phases import (
    bring_up,
    closing,
    context,
    deferred_backout,
    expanded,
    jobs,
    migration,
    preflight,
    rollback,
    soaking,
    switching,
    verifying,
)
from conductor.domain.revision import render_deployment
from conductor.domain.routing import switch_to
from conductor.domain.situation import Acting, Failing, Situation, Waiting
from conductor.domain.snapshot import Snapshot
from conductor.domain.traffic import services
from conductor.domain.verdicts import judge


def _small(**allowed: int) -> Bounds:
    return Bounds("mutant", "", wishes=("A", "B"), allowed=allowed, total=sum(allowed.values()))


class _BlindApi(Api):
    """Takes every write, whatever moved since it was decided."""

    def refuses(self, *_args: Any) -> bool:
        return False


class _CarelessApi(Api):
    """Leaves what was switched where a switch fails half-way."""

    def puts_back(self) -> bool:
        return False


def _judged(wrong: Verdict, said: Verdict, where: Any = context) -> Callable[[], AbstractContextManager[Any]]:
    def misjudge(*args: Any) -> VerdictStatus:
        verdict = judge(*args)
        return verdict.model_copy(update={"verdict": said}) if verdict.verdict is wrong else verdict

    return of(where, "judge", misjudge)


@contextmanager
def _active_not_looked_at() -> Iterator[None]:
    with (
        patch.object(migration, "hurt_by_expanding", never),
        patch.object(bring_up, "hurt_by_expanding", never),
    ):
        yield


def _hurt_whatever_was_before(given: context.Context) -> Failing | None:
    forgetful = given.upgrade.model_copy(update={"active_before": Verdict.NO_DATA})
    return expanded.hurt_by_expanding(replace(given, upgrade=forgetful))


def _first_service_only(*args: Any) -> SwitchServices:
    switch = switch_to(*args)
    return replace(switch, patches=switch.patches[:1])


def _contract_at_once(given: context.Context) -> Situation:
    assert given.migrations is not None
    run = given.upgrade
    if jobs.job_of(given.s, run, "contract") is None:
        manifest = migration_job(given.s, run, given.migrations, "contract")
        return Acting(CreateObject(manifest), Reason.RUNNING_JOB, "starting the contract step")
    return migration.contracting(given)


def _commands_to_the_last(given: context.Context) -> Failing | None:
    found = commanded(given.s, given.upgrade)
    return found or _MIND(given)


_MIND = determine._change_of_mind


def _unreadable_is_another(given: context.Context) -> Failing | None:
    if given.s.spec is None:
        return Failing(Reason.SUPERSEDED, "spec changed", Outcome.ABORTED)
    return _MIND(given)


def _asks_prometheus_first(given: context.Context) -> Situation:
    if given.s.health is None:
        return Waiting(Reason.NO_DATA, "waiting for Prometheus before traffic goes back")
    return rollback.rolling_back(given)


def _busy(*args: Any) -> plan.Plan:
    return replace(_WAIT(*args), again=True)


_WAIT = plan._wait


@contextmanager
def _applied() -> Iterator[None]:
    with patch.object(bring_up, "CreateObject", ApplyObject):
        yield


@contextmanager
def _phase(phase: Phase, decide: Callable[[context.Context], Situation]) -> Iterator[None]:
    with patch.dict(determine.PHASES, {phase: decide}):
        yield


@contextmanager
def _gates_but(name: str) -> Iterator[None]:
    left = tuple(gate for gate in preflight.GATES if gate.__name__ != name)
    with patch.object(preflight, "GATES", left):
        yield


@contextmanager
def _overlapping() -> Iterator[None]:
    with patch.object(Component, "effective_handover", property(lambda _: Handover.OVERLAP)):
        yield


def _owned(*args: Any, **kwargs: Any) -> dict[str, Any]:
    manifest = render_deployment(*args, **kwargs)
    manifest["metadata"]["ownerReferences"] = [{"kind": "ControlPlaneRelease"}]
    return manifest


def _aborts_whatever(s: Snapshot, upgrade: UpgradeStatus) -> Failing | None:
    if s.status.phase is Phase.SWITCHING and s.annotations.get(names.ANNOTATION_ABORT) == upgrade.id:
        return Failing(Reason.ABORTED, "an abort was asked for", Outcome.ABORTED)
    return None


_TWO = (API, Part("web"))

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "points traffic back at pods that are not ready",
        1,
        _small(pod=1, command=1),
        of(rollback, "_target_not_ready", never),
    ),
    Mutant(
        "points a Service back at a version without a ready pod",
        1,
        _small(pod=1, divert=1),
        of(dispute, "_not_ready", never),
    ),
    Mutant(
        "deletes a candidate that somebody gave users",
        2,
        _small(divert=1, command=1),
        of(services, "may_reach", lambda *_: False),
    ),
    Mutant(
        "takes back a first install that may have users",
        1,
        replace(_small(command=1), installed="", asked="A"),
        of(determine, "commanded", _aborts_whatever),
    ),
    Mutant(
        "takes a switch for proven without asking through the Service",
        2,
        _small(),
        of(switching, "data_path_gap", never),
    ),
    Mutant("verifies without a request of its own", 2, _small(), of(verifying, "_unproven", never)),
    Mutant(
        "scales the old colour away without silence",
        2,
        _small(divert=1),
        of(closing, "silence_gap", never),
    ),
    Mutant(
        "removes pods to which nodes still send",
        2,
        _small(command=1),
        of(rollback, "unless_followed", never),
    ),
    Mutant(
        "switches the first Service only",
        3,
        replace(_small(), parts=_TWO),
        of(services, "switch_to", _first_service_only),
    ),
    Mutant(
        "does not put back a switch that failed half-way",
        3,
        replace(_small(half=1), parts=_TWO),
        api=_CarelessApi,
    ),
    Mutant(
        "runs the contract step before its phase is written",
        4,
        replace(_small(), migrations="AfterSoak"),
        of(closing, "after_closing", _contract_at_once),
    ),
    Mutant(
        "goes back after the contract step was committed",
        4,
        replace(_small(command=1), migrations="AfterSoak"),
        of(determine, "_change_of_mind", _commands_to_the_last),
    ),
    Mutant(
        "takes back a schema that stayed, and nobody said so",
        5,
        replace(_small(command=1), migrations="AfterSoak"),
        of(deferred_backout, "approved", always),
    ),
    Mutant("names no intent", 5, _small(), of(plan, "Intent", never)),
    Mutant(
        "makes the effect before it writes the status",
        5,
        replace(_small(crash=1, command=1), migrations="AfterSoak"),
        effect_first=True,
    ),
    Mutant(
        "takes a switch that was cut off for somebody's reversion",
        5,
        _small(crash=3),
        of(dispute, "_by_others", lambda _, astray: bool(astray)),
    ),
    Mutant(
        "starts new workers before the old ones ended",
        5,
        replace(_small(), parts=(API, WORKER)),
        _overlapping,
    ),
    Mutant(
        "goes on though what serves does badly on the expanded schema",
        2,
        replace(_small(health=1), migrations="AfterSoak"),
        _active_not_looked_at,
    ),
    Mutant(
        "expands without having asked how what serves does",
        2,
        replace(_small(), migrations="AfterSoak"),
        of(migration, "before_expanding", lambda _: {}),
    ),
    Mutant(
        "takes NoData of what serves for Unhealthy",
        7,
        replace(_small(health=1), migrations="AfterSoak"),
        _judged(Verdict.NO_DATA, Verdict.UNHEALTHY, expanded),
    ),
    Mutant(
        "holds against the expand step what was so before",
        7,
        replace(_small(health=1), migrations="AfterSoak"),
        of(bring_up, "hurt_by_expanding", _hurt_whatever_was_before),
    ),
    Mutant("ignores resource versions", 6, _small(stale=1, leader=1), api=_BlindApi),
    Mutant(
        "claims nothing when it takes over",
        6,
        _small(stale=1, leader=1),
        of(determine, "unclaimed", lambda *_: ()),
    ),
    Mutant(
        "sets the size of what runs by a late creation",
        6,
        replace(_small(stale=1, leader=1), parts=(API, WORKER)),
        _applied,
    ),
    Mutant("counts NoData as Healthy", 7, _small(health=1), _judged(Verdict.NO_DATA, Verdict.HEALTHY)),
    Mutant(
        "rolls back when Prometheus fails", 7, _small(health=1), _judged(Verdict.ERROR, Verdict.UNHEALTHY)
    ),
    Mutant(
        "switches a Service of somebody else",
        8,
        replace(_small(), installed="", asked="A", foreign=True),
        lambda: _gates_but("services_are_ours"),
    ),
    Mutant(
        "gives what serves an owner",
        9,
        _small(),
        of(bring_up, "render_deployment", _owned),
    ),
    Mutant(
        "takes a spec that cannot be read for another one",
        10,
        replace(_small(spec=1), wishes=("B", "X")),
        of(determine, "_change_of_mind", _unreadable_is_another),
    ),
    Mutant("writes the time of every pass", 11, _small(), of(conditions, "_moved_at", never)),
    Mutant("asks for the next pass when nothing is to be done", 11, _small(), of(plan, "_wait", _busy)),
    Mutant(
        "waits for Prometheus before it goes back",
        LIVENESS,
        _small(command=1),
        lambda: _phase(Phase.ROLLING_BACK, _asks_prometheus_first),
    ),
    Mutant(
        "waits without a word for pods that crash",
        LIVENESS,
        _small(pod=1),
        of(rollback, "_unless_hopeless", lambda _context, _target, waiting: waiting),
    ),
    Mutant(
        "never ends shedding",
        LIVENESS,
        _small(),
        of(soaking, "shed", lambda *_: Waiting(Reason.SHEDDING, "shedding")),
    ),
    *OF_ADOPTION,
)
