"""mc in the cluster: its namespace and database, its chart, and the rows that a migration has to work on."""

from __future__ import annotations

from pathlib import Path

from cluster.paths import REPOSITORY
from demo.errors import DemoError
from demo.options import RELEASE, Options
from harness.kube import Kube, KubectlError, read_manifests
from harness.load_run import LoadPlan
from harness.namespaces import delete_namespace, make_namespace
from harness.operator_install import helm
from harness.waiting import wait_for_object

CHART = REPOSITORY / "infra" / "helm" / "mc"
POSTGRES = REPOSITORY / "tests" / "e2e" / "manifests" / "postgres.yaml"
LOGINS = POSTGRES.with_name("logins.sql")
START_SECONDS = 120.0
BATCH_ROWS = 10_000
BATCH_SECONDS = 120.0
#: As the users' own: what they publish and what lay there before are told apart by nothing.
TENANTS = 4
PSQL = (
    'PGPASSWORD="$POSTGRES_PASSWORD" exec psql --no-psqlrc --quiet --tuples-only --no-align '
    '--set=ON_ERROR_STOP=1 --host=127.0.0.1 --username="$POSTGRES_USER" "$POSTGRES_DB"'
)
FILL = """
WITH made AS (
    INSERT INTO executions (id, tenant, owner, name, state, created_at, started_at, finished_at)
    SELECT gen_random_uuid(),
           'tenant-' || lpad((n % {tenants})::text, 2, '0'),
           (ARRAY['Ada Lovelace', 'Grace Hopper', 'Edsger Dijkstra', 'Barbara Liskov'])[n % 4 + 1]
               || ' <person-' || n || '@example.org>',
           'run-' || n,
           'finished',
           now() - n * interval '20 seconds', now() - n * interval '20 seconds', now() - n * interval '19 seconds'
    FROM generate_series({first}, {last}) AS n
    RETURNING tenant
)
INSERT INTO tenants (tenant, executions) SELECT tenant, count(*) FROM made GROUP BY tenant
ON CONFLICT (tenant) DO UPDATE SET executions = tenants.executions + excluded.executions;
"""


def start_database(kube: Kube, namespace: str) -> None:
    """A new namespace with a new PostgreSQL in it; what a former demo left there goes first."""
    delete_namespace(kube, namespace)
    make_namespace(kube, namespace)
    kube.apply_all(read_manifests(POSTGRES), namespace=namespace)
    wait_for_object(
        kube, "StatefulSet", "postgres", namespace,
        lambda item: item.get("status", {}).get("readyReplicas") == 1,
        what="PostgreSQL to be ready", deadline_seconds=START_SECONDS,
    )  # fmt: skip
    psql(kube, namespace, LOGINS.read_text())


def install(options: Options, version: str) -> None:
    """`helm upgrade --install`, as a user would: the first time it installs, later it asks for the version."""
    helm(
        "upgrade",
        "--install",
        RELEASE,
        str(CHART),
        "--namespace",
        options.namespace,
        *settings(options, version),
    )


def settings(options: Options, version: str) -> list[str]:
    """The values of mc's chart: its blue-green profile, a login role per colour, a soak short enough to watch."""
    profile: Path = CHART / "values.bluegreen.yaml"
    chosen = {
        "database.logins.enabled": "true",
        "version": version,
        "soak": options.soak,
        "traffic.switchHealth.window": options.soak,
    }
    return [
        "--values",
        str(profile),
        *(part for name, value in chosen.items() for part in ("--set", f"{name}={value}")),
    ]


def fill(kube: Kube, options: Options, first: int) -> int:
    """One batch of rows, from number `first` on; answers the first number that is left."""
    last = min(first + BATCH_ROWS - 1, options.rows)
    psql(kube, options.namespace, FILL.format(first=first, last=last, tenants=TENANTS))
    return last + 1


def count_rows(kube: Kube, namespace: str) -> int:
    """How many executions there are; also lets the planner know."""
    return int(psql(kube, namespace, "ANALYZE executions, tenants; SELECT count(*) FROM executions;"))


def psql(kube: Kube, namespace: str, sql: str) -> str:
    """Run SQL in the database's own pod. Raises DemoError."""
    command = ("exec", "--stdin", "--namespace", namespace, "postgres-0", "--", "sh", "-c", PSQL)
    try:
        return kube.kubectl(*command, stdin=sql, timeout=BATCH_SECONDS).strip()
    except KubectlError as error:
        raise DemoError(f"the database in {namespace} refused SQL: {error}") from error


def users(options: Options) -> LoadPlan:
    """Who asks mc, and how: 50 clients on kept connections, 50 with a new one for each request."""
    return LoadPlan(
        url=f"http://{RELEASE}-api.{options.namespace}.svc",
        profile="mc",
        version_header="X-Mc-Version",
        rate=options.rate,
        tenants=TENANTS,
        verify_dsn=f"postgresql://mc:only-for-tests@postgres.{options.namespace}.svc:5432/mc",
    )
