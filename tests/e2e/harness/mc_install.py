"""mc, the managed control plane, installed by its chart over a PostgreSQL of its own, with a streaming standby where
one is asked for, and upgraded as a user does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.kube import Kube, Object, read_manifests
from harness.load_run import LoadPlan
from harness.operator_install import helm
from harness.postgres import PRIMARY_MANIFEST, REPLICA_KEY, STANDBY, STANDBY_MANIFEST, Server
from harness.releases import Release

ROOT = Path(__file__).resolve().parents[3]
MC_CHART = ROOT / "infra" / "helm" / "mc"
HELM_RELEASE = "mc"
LOGINS = PRIMARY_MANIFEST.with_name("logins.sql")
INSTALL_SECONDS = 180
#: Rows that are there before the first upgrade; the migration has to move each of them.
HISTORY_ROWS = 100_000
HISTORY = """
INSERT INTO executions (id, tenant, {columns}, name, state, created_at, started_at, finished_at)
SELECT gen_random_uuid(), 'history-' || i % 8, {values}, 'history ' || i,
       'finished', now() - i * interval '20 s', now() - i * interval '19 s', now() - i * interval '18 s'
FROM generate_series(1, {rows}) AS i;
INSERT INTO tenants (tenant, executions) SELECT tenant, count(*) FROM executions WHERE tenant LIKE 'history-%'
GROUP BY tenant ON CONFLICT (tenant) DO UPDATE SET executions = EXCLUDED.executions;
ANALYZE executions;
"""
#: Columns and values of an execution's owner: in one column in 1.0.0, in two from 1.1.0 on.
OWNER_WHOLE = ("owner", "'Person ' || i || ' <person-' || i || '@example.com>'")
OWNER_SPLIT = ("owner_name, owner_email", "'Person ' || i, 'person-' || i || '@example.com'")
#: Every execution in the new shape, in one line.
EXECUTIONS = """
SELECT count(*) || ' ' || md5(string_agg(format('%s|%s|%s', id, owner_name, owner_email), E'\\n' ORDER BY id))
FROM executions
"""


@dataclass
class Mc:
    """mc by its chart, over one PostgreSQL in the same namespace."""

    kube: Kube
    namespace: str
    first_version: str = "1.0.0"
    history_rows: int = HISTORY_ROWS
    values: dict[str, Any] = field(default_factory=dict)
    #: Whether PostgreSQL has a streaming one, and the release names it.
    standby: bool = False

    @property
    def primary(self) -> Server:
        return Server(self.kube, self.namespace)

    @property
    def replica(self) -> Server:
        """There where `standby` is asked for."""
        return Server(self.kube, self.namespace, STANDBY)

    @property
    def release(self) -> Release:
        return Release(self.kube, self.namespace, "mc")

    def install(self) -> None:
        for manifest in (PRIMARY_MANIFEST, *([STANDBY_MANIFEST] if self.standby else [])):
            self.kube.apply_all(read_manifests(manifest), namespace=self.namespace)
        self.primary.wait_ready(deadline_seconds=INSTALL_SECONDS)
        self.sql(LOGINS.read_text())
        if self.standby:
            self.replica.wait_ready(deadline_seconds=INSTALL_SECONDS)
            self.replica.wait_streaming()
        self.ask_for(self.first_version)
        self.release.wait_settled(self.first_version, deadline_seconds=INSTALL_SECONDS)
        if self.history_rows:
            columns, values = OWNER_WHOLE if self.first_version == "1.0.0" else OWNER_SPLIT
            self.sql(HISTORY.format(rows=self.history_rows, columns=columns, values=values))

    def ask_for(self, version: str) -> None:
        """As a user does it: another version in the values, and `helm upgrade`."""
        helm("upgrade", "--install", HELM_RELEASE, *self._chart(version))

    def rendered(self, version: str) -> list[Object]:
        """The manifests that the chart renders for this version, as GitOps would apply them."""
        text = helm("template", HELM_RELEASE, *self._chart(version))
        return [obj for obj in yaml.safe_load_all(text) if obj]

    def _chart(self, version: str) -> list[str]:
        standbys = {"database.replicaKeys": [REPLICA_KEY]} if self.standby else {}
        settings = {"version": version, "database.logins.enabled": True, **standbys, **self.values}
        return [
            str(MC_CHART),
            *("--namespace", self.namespace, "--values", str(MC_CHART / "values.bluegreen.yaml")),
            *(
                part
                for name, value in settings.items()
                for part in ("--set-json", f"{name}={json.dumps(value)}")
            ),
        ]

    def sql(self, statements: str) -> str:
        """On the primary, as the role that owns the tables."""
        return self.primary.sql(statements)

    def load(self, **changes: Any) -> LoadPlan:
        plan = {
            "url": f"http://mc-api.{self.namespace}.svc.cluster.local",
            "profile": "mc",
            "version_header": "X-Mc-Version",
            "verify_dsn": f"postgresql://mc:only-for-tests@postgres.{self.namespace}.svc.cluster.local:5432/mc",
        }
        return LoadPlan(**(plan | changes))
