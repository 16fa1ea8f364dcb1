"""The API over a real database: its answers, and that they outlive changes of schema and lost connections."""

import re
import uuid
from pathlib import Path

import pytest
from tests.unit.controlplane.conftest import (
    Plane,
    Running,
    a_publication,
    eventually,
    ready_api,
    run,
    running_api,
)

ADA = "Ada Lovelace <ada@example.org>"
GRACE = "Grace Hopper <grace@example.org>"


@pytest.fixture(params=["1.0.0", "1.1.0"])
def version(request: pytest.FixtureRequest, plane: Plane) -> str:
    if request.param != "1.0.0":
        plane.step("1.1.0", "expand")
    return str(request.param)


def test_publishes_once_and_tells_what_it_keeps(plane: Plane, version: str) -> None:
    async def scenario() -> None:
        async with ready_api(plane, version) as mc:
            fields = a_publication()
            path = f"/executions/{fields['id']}"
            assert await mc.get(path) == (404, _error(f"no execution has the id {fields['id']}", mc))
            assert await mc.post("/executions", fields) == (201, {"id": fields["id"]})
            assert await mc.post("/executions", fields) == (200, {"id": fields["id"]})
            status, answer = await mc.post("/executions", {**fields, "name": "second"})
            assert (status, answer["error"]["field"]) == (409, "id")
            status, kept = await mc.get(path)
            assert status == 200
            assert {**kept, "created_at": ""} == {
                **fields,
                "deny": False,
                "state": "queued",
                "created_at": "",
                "started_at": None,
                "finished_at": None,
            }
        assert plane.value("SELECT count(*) FROM executions") == 1
        assert plane.value("SELECT executions FROM tenants WHERE tenant = 'acme'") == 1

    run(scenario())


def test_starts_once(plane: Plane, version: str) -> None:
    async def scenario() -> None:
        async with ready_api(plane, version) as mc:
            execution = await mc.publish()
            for _ in range(2):
                assert await mc.post(f"/executions/{execution}/start") == (
                    200,
                    {"id": execution, "state": "running"},
                )
            denied = await mc.publish(deny=True)
            assert (await mc.post(f"/executions/{denied}/start"))[0] == 409
            assert (await mc.post(f"/executions/{uuid.uuid4()}/start"))[0] == 404
            async with mc.session.get(mc.url + "/metrics") as answer:
                assert re.search(r"^mc_publish_start_seconds_count 1\.0$", await answer.text(), re.MULTILINE)

    run(scenario())


def test_finds_what_was_asked_for_newest_first(plane: Plane, version: str) -> None:
    async def scenario() -> None:
        async with ready_api(plane, version) as mc:
            first = await mc.publish(name="first")
            second = await mc.publish(name="second", owner=GRACE)
            denied = await mc.publish(name="denied", deny=True)
            elsewhere = await mc.publish(tenant="other")

            async def found(query: str = "", **more: str) -> list[str]:
                status, answer = await mc.get("/executions", query=query, **more)
                assert status == 200, answer
                assert answer["count"] == len(answer["executions"])
                return [execution["id"] for execution in answer["executions"]]

            assert await found() == [elsewhere, denied, second, first]
            assert await found("FIND executions WHERE deny=false SINCE 30d", tenant="acme", limit="20") == [
                second,
                first,
            ]
            assert await found(f"FIND executions WHERE owner='{GRACE}'") == [second]
            assert await found(f"FIND executions WHERE owner!='{GRACE}' AND tenant=acme") == [denied, first]
            assert await found("FIND executions WHERE name=first AND state=queued LIMIT 1") == [elsewhere]
            assert await found("FIND executions LIMIT 3", limit="2") == [elsewhere, denied]
            assert await found("FIND executions WHERE state=finished") == []

    run(scenario())


def test_every_answer_tells_the_version_and_wrong_ones_the_mend(plane: Plane) -> None:
    async def scenario() -> None:
        async with ready_api(plane, "1.0.0", colour="green") as mc:
            for method, path, status, mend in (
                ("GET", "/executions?query=FIND", 400, "executions are all that can be found"),
                ("GET", "/executions?limit=0", 400, "give a count from 1 to 500, like 20"),
                ("GET", "/executions?tenant=%00", 400, "leave out control characters"),
                ("GET", "/executions/7", 400, "give a UUID"),
                ("GET", "/nowhere", 404, "see the paths and methods of the API"),
                ("DELETE", "/executions", 405, "see the paths and methods of the API"),
                ("POST", "/executions", 400, "send a JSON object"),
                ("GET", "/-/drain?seconds=soon", 400, "give a number of seconds"),
            ):
                async with mc.session.request(method, mc.url + path) as answer:
                    assert answer.status == status
                    assert (answer.headers["X-Mc-Version"], answer.headers["X-Mc-Colour"]) == (
                        "1.0.0",
                        "green",
                    )
                    assert (await answer.json())["error"]["mend"].startswith(mend)
                    if status == 405:
                        assert answer.headers["Allow"] == "GET,POST"

    run(scenario())


def test_both_versions_live_on_the_expanded_schema_before_and_after_the_backfill(plane: Plane) -> None:
    """The old one keeps its connections and prepared statements from before, the new one those of its own."""

    async def scenario() -> None:
        async with ready_api(plane, "1.0.0") as old:
            from_before = await old.publish(owner=ADA)
            await _use(old, from_before, ADA)
            plane.step("1.1.0", "expand")
            await _use(old, from_before, ADA)
            async with ready_api(plane, "1.1.0") as new:
                assert plane.value("SELECT count(*) FROM executions WHERE owner_email IS NULL") >= 1
                of_old = await old.publish(owner=ADA)
                of_new = await new.publish(owner=GRACE)
                owners = {from_before: ADA, of_old: ADA, of_new: GRACE}
                for mc in (old, new):
                    for execution, owner in owners.items():
                        await _use(mc, execution, owner)
                plane.value("UPDATE executions SET name = name RETURNING 1")
                assert plane.value("SELECT count(*) FROM executions WHERE owner_email IS NULL") == 0
                for mc in (old, new):
                    for execution, owner in owners.items():
                        await _use(mc, execution, owner)

    run(scenario())


@pytest.mark.story
def test_the_new_version_does_not_notice_the_contract_step(plane: Plane) -> None:
    async def scenario() -> None:
        plane.step("1.1.0", "expand")
        async with ready_api(plane, "1.1.0") as mc:
            execution = await mc.publish(owner=GRACE)
            await _use(mc, execution, GRACE)
            plane.step("1.1.0", "contract")
            await _use(mc, execution, GRACE)
            await _use(mc, await mc.publish(owner=ADA), ADA)

    run(scenario())


def test_a_version_is_not_ready_on_a_schema_that_it_cannot_serve(plane: Plane) -> None:
    async def scenario() -> None:
        async with running_api(plane, "1.1.0") as mc:

            async def names_the_columns() -> bool:
                status, answer = await mc.get("/readyz")
                return status == 503 and "lacks owner_email, owner_name" in answer["error"]["message"]

            await eventually(names_the_columns)
            assert (await mc.get("/healthz"))[0] == 200
            plane.step("1.1.0", "expand")
            await eventually(mc.is_ready)

    run(scenario())


def test_a_lost_connection_is_not_the_users_concern(plane: Plane) -> None:
    async def scenario() -> None:
        async with ready_api(plane, "1.0.0") as mc:
            execution = await mc.publish()
            for _ in range(3):
                assert plane.end_connections() >= 1
                assert (await mc.get(f"/executions/{execution}"))[0] == 200
                assert plane.end_connections() >= 1
                await mc.publish()
            assert await mc.is_ready()

    run(scenario())


def test_without_a_database_the_answer_comes_by_the_deadline(plane: Plane) -> None:
    async def scenario() -> None:
        gone = Plane(plane.server, "no_such_database")
        async with running_api(gone, "1.0.0", deadline_seconds=0.3) as mc:
            async with mc.session.get(mc.url + "/executions") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                message = (await answer.json())["error"]["message"]
                assert message.startswith("the database gave no answer within 0.3 s")
            assert not await mc.is_ready()

    run(scenario())


def test_the_colour_that_does_not_serve_sends_its_clients_away(plane: Plane, tmp_path: Path) -> None:
    async def scenario() -> None:
        current = tmp_path / "current"
        current.write_text("green\n")
        async with ready_api(plane, "1.0.0", colour="green", traffic_file=current) as mc:

            async def closes() -> bool:
                async with mc.session.get(mc.url + "/executions") as answer:
                    return answer.headers.get("Connection") == "close"

            assert not await closes()
            current.write_text("blue\n")
            await eventually(closes)

    run(scenario())


async def _use(mc: Running, execution: str, owner: str) -> None:
    """Every statement of the API, with the owner as this version shows it."""
    status, kept = await mc.get(f"/executions/{execution}")
    assert (status, kept["owner"]) == (200, owner)
    status, answer = await mc.get("/executions", query=f"FIND executions WHERE owner='{owner}'")
    assert status == 200
    assert execution in [found["id"] for found in answer["executions"]]
    assert (await mc.post(f"/executions/{execution}/start"))[0] == 200
    await mc.publish()


def _error(message: str, _mc: Running) -> dict[str, object]:
    return {"error": {"message": message, "mend": "publish it first", "field": "id"}}
