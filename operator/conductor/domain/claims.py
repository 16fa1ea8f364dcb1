"""What a new leader claims before it decides: objects for which a former leader may have a write in flight.

Every write of ours is valid only against the resource version that was read. A claim writes the new epoch on
the object and so moves that version; a former leader that was suspended with a write in its hand finds it
refused when it wakes. What is created is not claimed: a creation cannot change what runs. Any other epoch than our
own is claimed, a higher one too: where somebody deleted the Lease, counting may have begun anew.
"""

from conductor.api import names
from conductor.api.status import Phase
from conductor.domain.effects import Claim
from conductor.domain.snapshot import Snapshot

#: Phases in which single pods are written to: their labels in a ramp, their deletion when connections are shed.
_PODS_IN_HAND = frozenset({Phase.RAMPING, Phase.SOAKING})


#: What a Service is for whose selector moves users.
_LEADING = frozenset({names.ROLE_SERVING, names.ROLE_COLOUR})


def unclaimed(s: Snapshot) -> tuple[Claim, ...]:
    """Objects that do not carry our epoch yet.

    The release carries it once all others do, so that they are looked at once in an epoch; Services are
    looked at always, and routes with them, because a forced apply by somebody else takes the annotation away.
    """
    found = [
        Claim("Service", service.name, service.resource_version)
        for service in sorted(s.services.values(), key=lambda service: service.name)
        if service.release == s.name and service.role in _LEADING and service.epoch != s.epoch
    ]
    found += [
        Claim("HTTPRoute", name, route.resource_version)
        for name in s.status.traffic.routes
        if (route := s.routes.get(name)) is not None and route.epoch != s.epoch
    ]
    if s.status.epoch == s.epoch:
        return tuple(found)
    found += [
        Claim("Deployment", workload.name, workload.resource_version)
        for workload in sorted(s.workloads, key=lambda workload: workload.name)
        if workload.epoch != s.epoch
    ]
    found += [
        Claim(item.kind, item.name, item.resource_version)
        for item in sorted(s.companions or (), key=lambda item: (item.kind, item.name))
        if item.epoch != s.epoch
    ]
    config_map = s.traffic_config_map
    if config_map is not None and config_map.epoch != s.epoch:
        found.append(Claim("ConfigMap", config_map.name, config_map.resource_version))
    if s.status.phase in _PODS_IN_HAND:
        found += [
            Claim("Pod", pod.name, pod.resource_version)
            for pod in sorted(s.pods, key=lambda pod: pod.name)
            if pod.epoch != s.epoch and not pod.terminating
        ]
    return tuple(found)
