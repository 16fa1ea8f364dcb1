"""A real PostgreSQL for the whole run, and for each test a copy of mc's database at 1.0.0."""

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tests.migrator.plane import Plane
from tests.migrator.server import Server, running_server

MANY_ROWS = 100_000
SOME_ROWS = 10_000
FEW_ROWS = 300
_NAMES = count(1)

_FILL = """
INSERT INTO executions (id, tenant, owner, name, created_at)
SELECT md5('execution ' || n)::uuid, 'tenant-' || n % 40,
       CASE n % 10 WHEN 0 THEN 'just a name ' || n
                   WHEN 1 THEN 'odd  <spaces> <o' || n || '@example.org>'
                   ELSE 'Ada Lovelace ' || n || ' <ada' || n || '@example.org>' END,
       'run-' || n, now() - n * interval '1 second'
FROM generate_series(1, {rows}) AS n
"""


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # Not pytest's own temporary folder: that one is closed to the user that runs PostgreSQL.
    with (
        tempfile.TemporaryDirectory(prefix="migrator-tests-") as folder,
        running_server(Path(folder)) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def few_template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _template(server, tmp_path_factory, "few", FEW_ROWS)


@pytest.fixture(scope="session")
def some_template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _template(server, tmp_path_factory, "some", SOME_ROWS)


@pytest.fixture(scope="session")
def many_template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _template(server, tmp_path_factory, "many", MANY_ROWS)


@pytest.fixture
def blank(server: Server, tmp_path: Path) -> Iterator[Plane]:
    """A database with nothing in it."""
    yield from _plane(server, tmp_path, "template1")


@pytest.fixture
def small(server: Server, tmp_path: Path, few_template: str) -> Iterator[Plane]:
    """mc 1.0.0 with a few rows, for what does not need many."""
    yield from _plane(server, tmp_path, few_template)


@pytest.fixture
def medium(server: Server, tmp_path: Path, some_template: str) -> Iterator[Plane]:
    """mc 1.0.0 with 10,000 rows in batches of 200: as many batches as `large`, in a tenth of the time."""
    for plane in _plane(server, tmp_path, some_template):
        plane.settings = {"MIGRATOR_BATCH_ROWS": "200"}
        yield plane


@pytest.fixture
def large(server: Server, tmp_path: Path, many_template: str) -> Iterator[Plane]:
    """mc 1.0.0 with 100,000 rows."""
    yield from _plane(server, tmp_path, many_template)


def _template(server: Server, folders: pytest.TempPathFactory, name: str, rows: int) -> str:
    plane = Plane(server.create(name), folders.mktemp(name))
    plane.done("expand", "", "1.0.0", upgrade="u0")
    plane.execute(_FILL.format(rows=rows))
    plane.execute("VACUUM ANALYZE executions")
    return name


def _plane(server: Server, folder: Path, template: str) -> Iterator[Plane]:
    name = f"plane_{next(_NAMES)}"
    plane = Plane(server.create(name, template), folder)
    yield plane
    plane.end_runners()
    server.drop(name)
