"""Only a direct connection will do: poolers are found out by what they do, and proxies that are none are not."""

import psycopg
import pytest
from tests.migrator.plane import Plane
from tests.migrator.pooler import forwarder, pgbouncer, sharing_pooler, url_of
from tests.migrator.server import Server
from tests.migrator.test_refusals import says


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_pgbouncer_is_refused_in_every_mode(blank: Plane, server: Server, mode: str) -> None:
    database = blank.value("SELECT current_database()")
    with pgbouncer(server.port, mode) as port:
        through = Plane(url_of(port, database), blank.folder)
        refused = through.run("expand", "", "1.0.0")
    says(refused, 1, "Pooler", "DATABASE_URL", "connection pooler", "PostgreSQL itself")
    assert refused.answer["untouched"] is True
    assert blank.value("SELECT to_regnamespace('maestro_conductor')") is None


def test_a_pooler_that_tells_true_process_ids_is_found_by_what_it_shares_out(
    blank: Plane, server: Server
) -> None:
    database = blank.value("SELECT current_database()")
    with sharing_pooler(server.port) as port:
        url = url_of(port, database)
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row == (connection.info.backend_pid,), "its ids alone do not give it away"
        refused = Plane(url, blank.folder).run("expand", "", "1.0.0")
    says(refused, 1, "Pooler", "connection pooler")
    assert blank.value("SELECT to_regnamespace('maestro_conductor')") is None


def test_a_proxy_that_passes_connections_on_is_direct_enough(blank: Plane, server: Server) -> None:
    database = blank.value("SELECT current_database()")
    with forwarder(server.port) as port:
        assert Plane(url_of(port, database), blank.folder).done("expand", "", "1.0.0")["state"] == "expanded"


def test_a_role_that_may_have_one_connection_only_is_told_so(blank: Plane, server: Server) -> None:
    name = blank.value("SELECT current_database()")
    blank.execute("DROP ROLE IF EXISTS lonely; CREATE ROLE lonely LOGIN PASSWORD 'lonely' CONNECTION LIMIT 1")
    lonely = Plane(f"postgresql://lonely:lonely@127.0.0.1:{server.port}/{name}", blank.folder)
    says(lonely.run("expand", "", "1.0.0"), 2, "DatabaseUnreachable", "second connection", "CONNECTION LIMIT")
