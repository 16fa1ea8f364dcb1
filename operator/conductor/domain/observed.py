"""Whether what an intent asked for is in place, read from a later snapshot: for an operator that died over it."""

from collections.abc import Callable, Mapping

from conductor.api import names
from conductor.api.status import OpenIntent
from conductor.domain.effects import ClaimObjects, Effect, SwitchServices
from conductor.domain.snapshot import Snapshot
from conductor.domain.traffic.rules import told

_BOTH = "both"
#: Ends a subject that was too long to be written whole: what was cut off cannot be looked for.
CUT = "…"


def subject_of(effect: Effect) -> str:
    """What an effect touches and what it makes of it, so that a reader of the receipt need not know the code."""
    match effect:
        case SwitchServices(patches=patches, routes=routes):
            services = [
                f"Service/{patch.service}={patch.selector.get(names.LABEL_REVISION, _BOTH)}"
                for patch in patches
            ]
            return ",".join([*services, *(f"HTTPRoute/{patch.route}={patch.told}" for patch in routes)])
        case ClaimObjects(epoch=epoch):
            return f"{epoch}:{effect.subject}"
        case _:
            return effect.subject


def in_place(s: Snapshot, intent: OpenIntent) -> bool:
    """Whether the snapshot shows everything that the intent asked for; False where it cannot show it."""
    shows = _SHOWN.get(intent.effect)
    if shows is None or CUT in intent.subject or not intent.subject:
        return False
    try:
        return shows(s, intent.subject)
    except ValueError:
        # Another version of the operator wrote its subjects in another form.
        return False


def _created(s: Snapshot, subject: str) -> bool:
    return all(_exists(s, item) for item in subject.split(","))


def _deleted(s: Snapshot, subject: str) -> bool:
    return not any(_exists(s, item) for item in subject.split(","))


def _exists(s: Snapshot, item: str) -> bool:
    """Raises ValueError for what is no object of a kind that a snapshot shows."""
    kind, name = item.split("/", 1)
    match kind:
        case "Deployment":
            return any(workload.name == name for workload in s.workloads)
        case "Service":
            return name in s.services
        case "Job":
            return name in s.jobs
        case "ConfigMap":
            return name in s.config_maps
        case "ControllerRevision":
            return any(names.revision_name(s.name, hash_) == name for hash_ in s.revisions)
        case _:
            raise ValueError(f"{kind} is not observed")


def _scaled(s: Snapshot, subject: str) -> bool:
    name, replicas = subject.removeprefix("Deployment/").rsplit("=", 1)
    return any(workload.name == name and str(workload.replicas) == replicas for workload in s.workloads)


def _pods_deleted(s: Snapshot, subject: str) -> bool:
    standing = {pod.name for pod in s.pods if not pod.terminating}
    return standing.isdisjoint(subject.split(","))


def _told(s: Snapshot, subject: str) -> bool:
    serving = {pod.name: "on" if pod.serving else "off" for pod in s.pods}
    return all(serving.get(name, wanted) == wanted for name, wanted in _pairs(subject))


def _switched(s: Snapshot, subject: str) -> bool:
    selected = {
        f"Service/{name}": service.selector.get(names.LABEL_REVISION, _BOTH)
        for name, service in s.services.items()
    }
    selected |= {
        f"HTTPRoute/{name}": told(rule.backends for rule in route.rules) for name, route in s.routes.items()
    }
    return all(selected.get(name) == wanted for name, wanted in _pairs(subject))


def _adopted(s: Snapshot, subject: str) -> bool:
    item, wanted = subject.rsplit("=", 1)
    kind, name = item.split("/", 1)
    if kind == "Service":
        ours = name in s.services and s.services[name].release == s.name
    else:
        ours = any(workload.name == name for workload in s.workloads)
    return ours is (wanted == "adopted")


def _published(s: Snapshot, subject: str) -> bool:
    return s.published_colour == subject.rsplit("=", 1)[-1]


def _claimed(s: Snapshot, subject: str) -> bool:
    epoch, objects = subject.split(":", 1)
    found = {f"Service/{name}": service.epoch for name, service in s.services.items()}
    found |= {f"HTTPRoute/{name}": route.epoch for name, route in s.routes.items()}
    found |= {f"Deployment/{workload.name}": workload.epoch for workload in s.workloads}
    found |= {f"Pod/{pod.name}": pod.epoch for pod in s.pods}
    if s.traffic_config_map is not None:
        found[f"ConfigMap/{s.traffic_config_map.name}"] = s.traffic_config_map.epoch
    return all(found.get(name) == int(epoch) for name in objects.split(","))


def _finalizer(s: Snapshot, subject: str) -> bool:
    return (names.FINALIZER in s.finalizers) is (subject == "add")


def _pairs(subject: str) -> list[tuple[str, str]]:
    pairs = (item.rsplit("=", 1) for item in subject.split(","))
    return [(name, value) for name, value in pairs]


_SHOWN: Mapping[str, Callable[[Snapshot, str], bool]] = {
    "ApplyObject": _created,
    "CreateObject": _created,
    "RewriteObject": _created,
    "PinConfigMap": _created,
    "DeleteObjects": _deleted,
    "ScaleDeployment": _scaled,
    "DeletePods": _pods_deleted,
    "SetServing": _told,
    "SwitchServices": _switched,
    "WeighRoutes": _switched,
    "AdoptObject": _adopted,
    "PublishColour": _published,
    "ClaimObjects": _claimed,
    "ReleaseFinalizer": _finalizer,
}
