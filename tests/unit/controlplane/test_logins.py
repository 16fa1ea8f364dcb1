"""mc with a login role per colour, made by the SQL that its tests and the demo use: it works through an upgrade."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.migrator.server import Server
from tests.unit.controlplane.conftest import Plane, ready_api, run

from mc.settings import Settings

LOGINS = Path(__file__).resolve().parents[2] / "e2e" / "manifests" / "logins.sql"


@pytest.fixture
def coloured(server: Server) -> Iterator[Plane]:
    """A database in which each colour has its role, at 1.0.0."""
    server.create("mc_of_colours")
    plane = Plane(server, "mc_of_colours")
    with server.connect(plane.database) as connection:
        for _ in range(2):
            connection.execute(LOGINS.read_bytes())
    plane.step("1.0.0", "expand")
    yield plane
    server.drop(plane.database)


def url_of(plane: Plane, colour: str) -> str:
    """As its pods find it: both are there, and the colour tells which is theirs."""
    place = f"127.0.0.1:{plane.server.port}/{plane.database}"
    urls = {
        f"DATABASE_URL_{name.upper()}": f"postgresql://mc_{name}:only-for-tests@{place}"  # pragma: allowlist secret
        for name in ("blue", "green")
    }
    return Settings.from_environment({**urls, "MC_COLOUR": colour}).database_url


def test_each_colour_serves_with_its_own_role_in_every_shape(coloured: Plane) -> None:
    async def scenario() -> None:
        async with ready_api(coloured, "1.0.0", database_url=url_of(coloured, "blue")) as blue:
            await blue.publish()
            coloured.step("1.1.0", "expand")
            await blue.publish()
            async with ready_api(coloured, "1.1.0", database_url=url_of(coloured, "green")) as green:
                published = await green.publish()
                assert (await blue.post(f"/executions/{published}/start"))[0] == 200
        with coloured.server.connect(coloured.database) as migrator:
            # What the trigger does to each row that it meets, and the backfill to all of them.
            migrator.execute("UPDATE executions SET state = state")
        async with ready_api(coloured, "1.1.0", database_url=url_of(coloured, "green")) as green:
            coloured.step("1.1.0", "contract")
            assert (await green.get(f"/executions/{await green.publish()}"))[0] == 200
            sessions = (
                "SELECT array_agg(DISTINCT usename::text) FROM pg_stat_activity WHERE usename LIKE 'mc%'"
            )
            assert coloured.value(sessions) == ["mc_green"]

    run(scenario())
