"""What of former revisions may go once a release is Stable."""

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.domain.phases.surge import left_over
from conductor.domain.revision import Revision
from conductor.domain.routing import services_of
from conductor.domain.situation import Acting
from conductor.domain.snapshot import Snapshot
from conductor.domain.versioned import delete

#: Kept besides the active one, so that `rollbackTo` has somewhere to go.
KEPT_REVISIONS = 5
#: What a Service is for that leads somewhere by itself; previews go with their upgrade.
_LEADING = frozenset({names.ROLE_SERVING, names.ROLE_COLOUR})


def left_behind(s: Snapshot, active: Revision) -> Acting | None:
    """The next removal of what nothing at rest needs any more."""
    if objects := superfluous(s):
        return Acting(delete(s, objects), Reason.CLEANING_UP, "removing what former upgrades left")
    return _deserted(s, active)


def superfluous(s: Snapshot) -> tuple[tuple[str, str], ...]:
    """Objects of revisions past the limit, previews that a finished upgrade left, and Jobs of those before the last."""
    active = s.active
    if active is None:
        return ()
    recent = [
        s.status.active_revision,
        s.status.standby_revision,
        s.status.last_good_revision,
        s.status.failed_digest,
    ]
    # What was adopted is handed back, not removed.
    recent += [workload.revision for workload in s.workloads if workload.adopted]
    others = [hash_ for hash_ in s.revisions if hash_ not in recent]
    doomed = frozenset(others[: max(0, len(s.revisions) - 1 - KEPT_REVISIONS)])
    # A Deployment whose record cannot be read may be a newer operator's: it is left alone.
    objects = [("Deployment", workload.name) for workload in s.workloads if workload.revision in doomed]
    objects += left_over(s)
    objects += [
        ("Service", name)
        for _, service in services_of(active)
        if (name := names.preview_name(service.name)) in s.services and s.services[name].release == s.name
    ]
    objects += [
        ("ConfigMap", names.pinned_name(source, hash_))
        for hash_ in sorted(doomed)
        for source in s.revisions[hash_].pinned
        if names.pinned_name(source, hash_) in s.config_maps
    ]
    objects += [("ControllerRevision", names.revision_name(s.name, hash_)) for hash_ in sorted(doomed)]
    return (*objects, *(("Job", name) for name in _old_jobs(s)))


def _deserted(s: Snapshot, active: Revision) -> Acting | None:
    """One Service of a component that is no more: its name is free again, and nobody is answered by it anyway.

    Standing, it would keep an address, a place in a quota and, of another release, everybody from that name. One that
    was adopted is its owner's, and one that has an endpoint, whoever's, is in use.
    """
    live = {
        name
        for _, service in services_of(active)
        for name in (service.name, *(names.colour_service_name(service.name, colour) for colour in Colour))
    }
    for name, state in sorted(s.services.items()):
        ours = state.release == s.name and state.created and state.role in _LEADING
        if ours and name not in live and not s.endpoints.get(name):
            said = f"{active.version} has none of that name, and nothing answers by it any more"
            return Acting(
                delete(s, [("Service", name)]), Reason.CLEANING_UP, f"removing Service {name}: {said}"
            )
    return None


def _old_jobs(s: Snapshot) -> list[str]:
    """Jobs whose evidence stands elsewhere by now; migration Jobs of the last upgrade stay to be looked at."""
    runs = (s.status.last_upgrade, s.status.pending_contract, s.status.pending_backout)
    kept = tuple(names.job_prefix(s.name, run.id) for run in runs if run is not None)
    pulls = tuple(names.pre_pull_prefix(s.name, run.id) for run in runs if run is not None)
    return sorted(name for name in s.jobs if not name.startswith(kept) or name.startswith(pulls))
