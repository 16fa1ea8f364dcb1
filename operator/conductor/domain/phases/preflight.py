"""Preflight and Bootstrapping: record the revision, pin its configuration, and refuse what cannot work."""

from collections.abc import Callable
from datetime import timedelta

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import ReleaseSpec
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import CreateObject, PinConfigMap
from conductor.domain.manifests import revision_record
from conductor.domain.phases.capacity import room_for_all
from conductor.domain.phases.context import Context, ramps
from conductor.domain.phases.deferred_contract import intent_of_next, question
from conductor.domain.phases.sessions import login_lost
from conductor.domain.pods import lost_readiness
from conductor.domain.revision import Revision, grace_problem, referenced_config_maps, render_deployment
from conductor.domain.routing import services_of
from conductor.domain.semver import older
from conductor.domain.situation import Acting, Advancing, Failing, Situation, Waiting
from conductor.domain.snapshot import Snapshot
from conductor.domain.traffic.choice import named_routes, traffic_of
from conductor.domain.traffic.strict import names_taken, not_yet, unattainable

#: As long as one `helm upgrade` or `kubectl apply` takes over a handful of objects.
_ROUTES_PATIENCE = timedelta(seconds=15)
Gate = Callable[[Context], tuple[Reason, str] | None]

#: How long the active revision may be out of order before an upgrade is refused for it: a node's restart.
_SERVING_PATIENCE = timedelta(seconds=30)


def record(s: Snapshot) -> Acting | Waiting | None:
    """Write down what was asked for before anything of it runs; None once that is done.

    A record that is there and cannot be read here may be a newer operator's, with more in it than the spec says.
    """
    if s.spec is None or s.digest in s.revisions:
        return None
    name = names.revision_name(s.name, s.digest)
    if name in s.unreadable_records:
        return Waiting(
            Reason.UNKNOWN_REVISION,
            f"ControllerRevision {name} of {s.spec.version} is there and cannot be read by this operator: a newer one "
            f"wrote it, or a hand did. Run that operator again, or have it written anew from spec: kubectl delete "
            f"controllerrevision {name} -n {s.namespace}. Nothing is changed until then, and what serves stays",
            stalled=True,
        )
    revision = Revision(hash=s.digest, spec=s.spec, pinned=referenced_config_maps(s.spec))
    raw = s.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return Acting(
        CreateObject(revision_record(s, revision, raw)),
        Reason.CREATING_REVISION,
        f"recording revision {revision.hash}",
    )


def services_are_ours(context: Context) -> tuple[Reason, str] | None:
    """A Service that somebody else made or that another release switches is not touched."""
    s = context.s
    for component, service in services_of(context.to):
        for name in (service.name, names.preview_name(service.name)):
            state = s.services.get(name)
            if state is None or state.release == s.name:
                continue
            owner = (
                f"belongs to release {state.release}" if state.release else "was not made by this operator"
            )
            adoptable = context.from_ is None and not state.release and name == service.name
            return (
                Reason.FOREIGN_SERVICE,
                f"spec.components[{component.name}].services[].name: Service {name} {owner}; choose another name, "
                "or delete that Service and let the operator create it"
                + (", or take it over by naming the Deployment behind it in spec.adopt" if adoptable else ""),
            )
    return None


def nobody_else_selects_it(context: Context) -> tuple[Reason, str] | None:
    """A Service of somebody else must not take in the candidate's pods before they are proven."""
    s = context.s
    for component in context.to.spec.components:
        manifest = render_deployment(
            s.name, s.namespace, context.to, component, colour=context.upgrade.to_colour, replicas=0
        )
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        for service in s.other_services:
            if not service.selector or not service.selector.items() <= labels.items():
                continue
            chosen = ",".join(f"{key}={value}" for key, value in sorted(service.selector.items()))
            return (
                Reason.FOREIGN_SERVICE,
                f"spec.components[{component.name}].template.metadata.labels: Service {service.name} of somebody else "
                f"selects {chosen}, its clients would meet the new version before it is proven; take that label out "
                "of the template, or delete that Service",
            )
    return None


def no_budget_of_others(context: Context) -> tuple[Reason, str] | None:
    """A budget over both colours counts the candidate's pods for those that serve; beside one of ours nothing is
    evicted at all."""
    s = context.s
    for component in context.to.spec.components:
        manifest = render_deployment(
            s.name, s.namespace, context.to, component, colour=context.upgrade.to_colour, replicas=0
        )
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        for budget in s.other_budgets:
            if not budget.selects(labels):
                continue
            return (
                Reason.FOREIGN_BUDGET,
                f"spec.components[{component.name}]: PodDisruptionBudget {budget.name} of somebody else selects pods "
                "of this version, and would count both colours as one; give components[].disruptionBudget in its "
                "place, and delete it, or narrow its selector",
            )
    return None


def grace_outlasts_drain(context: Context) -> tuple[Reason, str] | None:
    """A pod that is killed before its drain ends loses requests."""
    for component in context.to.spec.components:
        if (problem := grace_problem(component, context.to.spec.pre_stop_hook)) is not None:
            return Reason.GRACE_TOO_SHORT, problem
    return None


def templates_are_accepted(context: Context) -> tuple[Reason, str] | None:
    """The API server has the last word on a template: it was asked by dry-run."""
    if context.s.rejections:
        return Reason.TEMPLATE_REJECTED, context.s.rejections[0]
    return None


def config_maps_exist(context: Context) -> tuple[Reason, str] | None:
    """A ConfigMap that a template needs must be there to be pinned."""
    missing = sorted(set(context.to.pinned) & context.s.missing_config_maps)
    if missing:
        return (
            Reason.CONFIG_MISSING,
            f"spec.components[].template: ConfigMap {missing[0]} does not exist in namespace {context.s.namespace}; "
            "create it, or mark the reference optional",
        )
    return None


def schema_still_fits(context: Context) -> tuple[Reason, str] | None:
    """What a contract step removed cannot be asked back by an older version."""
    floor = context.s.status.schema_floor
    if not floor or context.from_ is None or not older(context.to.version, floor):
        return None
    return (
        Reason.CONTRACT_COMMITTED,
        f"spec.version: {context.to.version} cannot run on the schema that the contract step of {floor} left; go "
        f"forward with a version from {floor} on, or restore the database to a time before it",
    )


def traffic_can_be_led(context: Context) -> tuple[Reason, str] | None:
    """What the traffic provider needs of both versions and of the cluster must be there before anything runs."""
    if context.from_ is None:
        return None
    return traffic_of(context.s).refusal(context.from_, context.to, ramped=ramps(context))


def strict_can_hold(context: Context) -> tuple[Reason, str] | None:
    """`consistency: Strict` is refused where names or templates show that it would not hold."""
    return names_taken(context.s, context.to) or unattainable(context.s, context.to)


def routes_come(context: Context) -> Waiting | None:
    """A route that is applied together with the release may come a moment after it."""
    until = context.upgrade.phase_started_at + _ROUTES_PATIENCE
    refusal = traffic_can_be_led(context)
    if refusal is None or refusal[0] is not Reason.ROUTE_UNUSABLE or context.s.now >= until:
        return None
    return Waiting(*refusal, until)


def login_is_open(context: Context) -> tuple[Reason, str] | None:
    """A candidate whose login the last contract step fenced cannot come up until a Job gives it back."""
    return login_lost(context)


GATES: tuple[Gate, ...] = (
    schema_still_fits,
    login_is_open,
    traffic_can_be_led,
    services_are_ours,
    strict_can_hold,
    nobody_else_selects_it,
    no_budget_of_others,
    grace_outlasts_drain,
    config_maps_exist,
    templates_are_accepted,
)


def is_hotfix(spec: ReleaseSpec) -> bool:
    """Whether this very version may go in although the active revision does not serve."""
    return spec.hotfix == spec.version


def active_serves(context: Context) -> Situation | None:
    """Beside a colour that does not serve nothing can be compared, and there is nothing to go back to."""
    s, since = context.s, context.upgrade.step_at
    lost = lost_readiness(s, context.from_) if context.from_ is not None else None
    if lost is None and since is not None:
        said = f"{context.upgrade.from_} serves again"
        return Advancing(s.status.phase, Reason.STARTED, said, {"step_at": None})
    if lost is None or is_hotfix(context.spec):
        return None
    since = since or s.now
    message = f"{context.upgrade.from_} does not serve: {lost}"
    if s.now - since < _SERVING_PATIENCE:
        until = since + _SERVING_PATIENCE
        return Waiting(Reason.ACTIVE_NOT_SERVING, message, until, changes={"step_at": since})
    given = f" (it names {context.spec.hotfix})" if context.spec.hotfix else ""
    return Failing(
        Reason.ACTIVE_NOT_SERVING,
        f"{message}, and there would be nothing to go back to; mend it first, or, where {context.upgrade.to} is the "
        f'mend, set spec.hotfix: "{context.upgrade.to}"{given}',
        Outcome.REFUSED,
    )


def preflight(context: Context) -> Situation:
    """All gates, then the pinned copies; no side effect on anything that serves."""
    s = context.s
    if (unserved := active_serves(context)) is not None:
        return unserved
    if (coming := routes_come(context)) is not None:
        return coming
    for gate in GATES:
        if (refusal := gate(context)) is not None:
            return Failing(*refusal, outcome=Outcome.REFUSED)
    if (cramped := room_for_all(context)) is not None:
        return cramped
    for source in context.to.pinned:
        target = names.pinned_name(source, context.to.hash)
        if target not in s.config_maps:
            labels = {
                names.LABEL_RELEASE: s.name,
                names.LABEL_REVISION: context.to.hash,
                names.LABEL_ROLE: names.ROLE_PINNED,
            }
            return Acting(
                PinConfigMap(source, target, labels),
                Reason.PINNING_CONFIG,
                f"pinning ConfigMap {source} as {target}",
            )
    if (asked := question(context)) is not None:
        return asked
    return _passed(context)


def _passed(context: Context) -> Advancing:
    s = context.s
    following = Phase.EXPANDING if context.spec.migrations else Phase.BRINGING_UP
    first = intent_of_next(context)
    changes = {"step_at": None, **first}
    if context.from_ is not None and (routes := named_routes(context.spec)):
        changes["routes"] = tuple(sorted({*s.status.traffic.routes, *routes}))
    said = "preflight passed"
    if first:
        floor = first["schema_floor"]
        said += f"; the contract step of {floor} goes first, and nothing older can serve from here on"
    if context.from_ is not None and lost_readiness(s, context.from_) is not None:
        changes["hotfix"] = True
    mixing = not_yet(s, context.from_, context.to)
    if mixing:
        said += f"; {mixing}"
    return Advancing(following, Reason.NOT_YET_STRICT if mixing else Reason.STARTED, said, changes)
