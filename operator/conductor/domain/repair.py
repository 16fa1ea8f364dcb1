"""What must be there for the active revision to serve, and is put back where somebody took it away."""

from conductor.api.reasons import Reason
from conductor.domain.effects import ApplyObject, CreateObject
from conductor.domain.manifests import serving_service
from conductor.domain.revision import Revision, render_deployment
from conductor.domain.routing import missing_services
from conductor.domain.situation import Acting
from conductor.domain.snapshot import Snapshot


def repair(s: Snapshot, active: Revision) -> Acting | None:
    """Recreate a Deployment or Service of the active revision that is gone; None where all are there."""
    colour = s.status.traffic.current
    if colour is None:
        return None
    for component in active.spec.components:
        if s.workload(component.name, active.hash) is None:
            manifest = render_deployment(
                s.name, s.namespace, active, component, colour=colour, replicas=component.replicas
            )
            return Acting(
                ApplyObject(manifest),
                Reason.REPAIRING,
                f"Deployment {manifest['metadata']['name']} was deleted by somebody; creating it again",
            )
    for component, service in missing_services(s, active):
        return Acting(
            CreateObject(serving_service(s, active, component, service)),
            Reason.REPAIRING,
            f"Service {service.name} was deleted by somebody; creating it again",
        )
    return None
