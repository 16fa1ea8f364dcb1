"""mc's workers change hands, Exclusive and Overlap, under load: every execution is started once and finished once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from harness.kube import Kube
from harness.load_run import LoadRun
from harness.mc_install import Mc
from harness.waiting import poll

#: No migration lies between them; the second is slow only for more users than there are here.
OLD, NEW = "1.1.0", "1.2.1-slow"
VALUES = {
    "api.replicas": 2,
    "soak": "10m",
    "traffic.switchHealth.window": "10s",
    "traffic.switchHealth.missRate": 0.05,
    # A busy machine is slow as well, and slowness is not the matter here.
    "traffic.switchHealth.p95LatencyMs": 5000,
}
USERS: dict[str, Any] = {"rate": 30, "keep_alive_clients": 10, "one_shot_clients": 10}
PATIENCE_SECONDS = 110.0
#: Told by the database itself, by whatever hand: a second start of one execution is a second row.
AUDIT = """
CREATE TABLE worked (id uuid NOT NULL, state text NOT NULL, hand text NOT NULL,
                     at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION tell_work() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO worked (id, state, hand) VALUES (NEW.id, NEW.state, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_work AFTER UPDATE OF state ON executions FOR EACH ROW EXECUTE FUNCTION tell_work();
"""
UNFINISHED = "SELECT count(*) FROM executions WHERE NOT denied AND state <> 'finished'"
NOT_ONCE = """
SELECT count(*) FROM executions e
WHERE NOT denied AND (SELECT array_agg(state ORDER BY at) FROM worked w WHERE w.id = e.id)
                     IS DISTINCT FROM ARRAY['running', 'finished']
"""
#: How often the next deed was another version's worker's.
CHANGES = """
SELECT count(*) FROM (
    SELECT hand <> lag(hand) OVER (ORDER BY at) AS other FROM worked WHERE hand LIKE 'mc-worker %'
) deeds WHERE other
"""

# Two installations of mc with its database: minutes, and so not for every run.
pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("operator"), pytest.mark.chaos]


@dataclass(frozen=True)
class Audit:
    """What the database saw of the workers' deeds."""

    plane: Mc

    def number(self, query: str) -> int:
        return int(self.plane.sql(query).strip())

    def deeds_of(self, version: str) -> int:
        return self.number(f"SELECT count(*) FROM worked WHERE hand LIKE 'mc-worker {version} %'")

    def wait_deed_of(self, version: str, *, after: int = 0) -> None:
        """Wait until workers of a version have done something, or more than `after`."""
        poll(
            lambda: self.deeds_of(version) > after or None, what=f"a deed of a worker of {version}",
            deadline_seconds=30, last_seen=lambda: self.deeds_of(version),
        )  # fmt: skip

    def wait_idle(self) -> None:
        """Wait until everything that was published has been worked off."""
        poll(
            lambda: self.number(UNFINISHED) == 0 or None, what="every execution to be finished",
            deadline_seconds=60, last_seen=lambda: self.number(UNFINISHED),
        )  # fmt: skip


@pytest.mark.parametrize("handover", ["Exclusive", "Overlap"])
def test_no_execution_is_lost_or_run_twice_while_workers_change_hands_there_and_back(
    kube: Kube, test_namespace: str, handover: str
) -> None:
    values = VALUES | {"worker.handover": handover}
    plane = Mc(kube, test_namespace, first_version=OLD, history_rows=0, values=values)
    plane.install()
    plane.sql(AUDIT)
    release, audit = plane.release, Audit(plane)
    with LoadRun(kube, plane.load(**USERS), name="mc-users") as users:
        audit.wait_deed_of(OLD)
        plane.ask_for(NEW)
        release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
        audit.wait_deed_of(NEW)
        before_return = audit.deeds_of(OLD)
        release.command("rollback")
        release.wait_upgrade(NEW, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        audit.wait_deed_of(OLD, after=before_return)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert summary.writes.verified
    audit.wait_idle()
    assert audit.number(NOT_ONCE) == 0
    assert audit.number("SELECT count(*) FROM executions") == summary.writes.acknowledged > 0
    changes = audit.number(CHANGES)
    if handover == "Exclusive":
        assert changes == 2, "the two versions' workers worked at the same time"
    else:
        assert changes > 2, "one version's workers had ended before the other's began"
