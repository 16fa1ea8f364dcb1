"""Provider `Service`: shares of users' connections, by how many pods of each colour a Service selects.

In steady state a Service selects one revision. In a ramp the serving label is taken from excess pods, and the Service
selects across both revisions; weights that pod counts cannot express are reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Component
from conductor.api.traffic import Preview
from conductor.domain.effects import SwitchServices
from conductor.domain.ports import port_clash
from conductor.domain.revision import Revision, wide_selector
from conductor.domain.routing import (
    endpoints_gap,
    is_wide,
    may_reach,
    pointing_at,
    services_of,
    switch_to,
    widen,
)
from conductor.domain.situation import Acting, Waiting
from conductor.domain.snapshot import Pod, Snapshot, served_components
from conductor.domain.traffic.provider import Inexpressible
from conductor.domain.traffic.strict import in_order, ramped_services
from conductor.domain.versioned import set_serving
from conductor.domain.weights import pods_for_weight


@dataclass(frozen=True)
class ServiceTraffic:
    """Users reach a revision through Services alone."""

    s: Snapshot

    def refusal(self, from_: Revision, to: Revision, *, ramped: bool) -> tuple[Reason, str] | None:
        """In a ramp one Service leads to both versions, so that one targetPort must be right for either."""
        clash = port_clash(from_, to) if ramped else None
        if clash is None:
            return None
        return (
            Reason.RAMP_PORTS_DIFFER,
            f"spec.components[{clash.component}].services[{clash.service}].ports[{clash.port}].targetPort: "
            f"{clash.target} is not what {from_.version} listens on ({clash.former}), and in a ramp one Service leads "
            "to both; name the container's port in both versions and target that name, or take spec.traffic.ramp out "
            "for this upgrade",
        )

    def can_ramp(self, from_: Revision) -> bool:
        """Adopted pods carry no label by which they could be told to serve or not."""
        return from_.adopted is None

    def prepare(self, from_: Revision, to: Revision) -> Acting | Waiting | None:  # noqa: ARG002 - nothing but the Service
        return None

    def repair(self, from_: Revision, to: Revision) -> Acting | None:  # noqa: ARG002 - nothing but the Service
        return None

    def weigh(self, from_: Revision, to: Revision, percent: int) -> Acting | Waiting | Inexpressible | None:
        """Who serves first, then who is selected: replacements err towards capacity."""
        counts = self._counts(from_, to, percent)
        if counts is None:
            return Inexpressible(
                f"{percent}% cannot be expressed with these pod counts and is left out; use more replicas or a larger "
                "weight"
            )
        if changes := self._labels(from_, to, counts):
            said = f"serving labels for {percent}%"
            return Acting(set_serving(changes), Reason.RAMPING, said, {"step_at": None})
        if not self._is_wide(from_, to):
            return Acting(
                widen(self.s, from_, to, ramped_services(self.s, to)),
                Reason.SWITCHING,
                f"moving {percent}% of new connections",
                {"took_traffic": True, "step_at": self.s.now, "green_share": percent},
            )
        return None

    def approach(self, from_: Revision, to: Revision) -> Acting | Waiting | None:  # noqa: ARG002 - the same
        return None

    def weight_gap(self, from_: Revision, to: Revision) -> str | None:  # noqa: ARG002 - nothing but the Service
        return None

    def preview_gap(self, from_: Revision, to: Revision, preview: Preview) -> str | None:  # noqa: ARG002 - Services see no requests
        return None

    def preview(self, from_: Revision, to: Revision, preview: Preview) -> Acting | None:  # noqa: ARG002 - the same
        return None

    def end_preview(self) -> Acting | None:
        return None

    def share(self, from_: Revision, to: Revision) -> int | None:
        """The largest share that `to` has of a component's selected pods."""
        if pointing_at(self.s, to):
            return 100
        if pointing_at(self.s, from_):
            return 0
        if not self._is_wide(from_, to):
            return None
        shares = []
        for component in self._ramped(to):
            gaining = sum(pod.serving for pod in self.s.ready_pods(to.hash, component.name))
            losing = sum(pod.serving for pod in self.s.ready_pods(from_.hash, component.name))
            if losing:
                shares.append(100 * gaining // (gaining + losing))
        return max(shares, default=None)

    def switch_to(self, revision: Revision) -> SwitchServices:
        switch = switch_to(self.s, revision)
        return replace(switch, patches=in_order(self.s, revision, switch.patches))

    def give_back(self, revision: Revision) -> SwitchServices | None:  # noqa: ARG002 - nothing but the Service
        return None

    def leads_only_to(self, revision: Revision) -> bool:
        return pointing_at(self.s, revision)

    def may_lead_to(self, revision: Revision) -> bool:
        return may_reach(self.s, revision) or any(
            (state := self.s.services.get(service.name)) is not None
            and wide_selector(self.s.name, component.name).items() <= dict(state.selector).items()
            and names.LABEL_REVISION not in state.selector
            and any(pod.serving for pod in self.s.ready_pods(revision.hash, component.name))
            for component, service in services_of(revision)
        )

    def routing_gap(self, revision: Revision) -> str | None:
        return endpoints_gap(self.s, revision)

    def hindrance(self) -> str | None:
        return None

    def _is_wide(self, from_: Revision, to: Revision) -> bool:
        return is_wide(self.s, from_, to, ramped_services(self.s, to))

    def _ramped(self, to: Revision) -> Iterator[Component]:
        """Components of which a share is moved in a ramp."""
        only = ramped_services(self.s, to)
        for component in served_components(to):
            if any(service.name in only for service in component.services):
                yield component

    def _counts(self, from_: Revision, to: Revision, percent: int) -> dict[str, tuple[int, int]] | None:
        """Per component, how many losing and gaining pods serve; None where one cannot express the weight."""
        counts: dict[str, tuple[int, int]] = {}
        former = {component.name for component in served_components(from_)}
        # A component that only the new version has takes nobody's users in a ramp.
        for component in (component for component in self._ramped(to) if component.name in former):
            losing = len(self.s.ready_pods(from_.hash, component.name))
            gaining = len(self.s.ready_pods(to.hash, component.name))
            workload = self.s.workload(component.name, from_.hash)
            capacity = min(workload.replicas if workload else losing, losing)
            found = pods_for_weight(percent, losing, gaining, capacity)
            if found is None:
                return None
            counts[component.name] = found
        return counts or None

    def _labels(
        self, from_: Revision, to: Revision, counts: dict[str, tuple[int, int]]
    ) -> tuple[tuple[Pod, bool], ...]:
        """Label changes, those that add capacity first."""
        on: list[tuple[Pod, bool]] = []
        off: list[tuple[Pod, bool]] = []
        for component, (losing, gaining) in counts.items():
            for revision, wanted in ((to.hash, gaining), (from_.hash, losing)):
                pods = sorted(self.s.ready_pods(revision, component), key=_serving_first)
                on += [(pod, True) for pod in pods[:wanted] if not pod.serving]
                off += [(pod, False) for pod in pods[wanted:] if pod.serving]
        return (*on, *off)


def _serving_first(pod: Pod) -> tuple[bool, str]:
    return (not pod.serving, pod.name)
