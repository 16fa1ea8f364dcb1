"""DATABASE_URL, arguments and settings: what is wrong with them is told, and never the password."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.migrator.plane import Outcome, Plane
from tests.migrator.server import PASSWORD, PASSWORD_IN_URL, Server

from migrator.dsn import parse_dsn
from migrator.stops import Stop


@pytest.mark.parametrize(
    ("url", "exit_code", "reason", "part"),
    [
        ("", 2, "DatabaseUrlMissing", "databaseSecretRef"),
        ("mysql://u:hunter2@db/mc", 1, "EngineUnsupported", "'mysql' is not PostgreSQL"),
        ("postgresql+asyncpg://u:hunter2@db/mc", 1, "DatabaseUrlInvalid", "leave out '+asyncpg'"),
        ("u:hunter2@db/mc", 1, "DatabaseUrlInvalid", "not a URL"),
        ("hunter2 @://db", 1, "DatabaseUrlInvalid", "not a URL"),
        ("postgresql://u:hunter2%zz@db/mc", 1, "DatabaseUrlInvalid", "percent-encode"),
        ("postgresql://u:hunter2@db/mc?options=-csearch_path%3Dx", 1, "DatabaseUrlInvalid", "'options'"),
        ("postgresql://u:hunter2@db/mc?passfile=/etc/x", 1, "DatabaseUrlInvalid", "'passfile'"),
        ("postgresql:///mc", 1, "DatabaseUrlInvalid", "host is missing"),
        ("postgresql://u:hunter2@db", 1, "DatabaseUrlInvalid", "dbname is missing"),
        ("postgresql://u:hunter2@127.0.0.1:1/mc", 2, "DatabaseUnreachable", "127.0.0.1:1/mc"),
    ],
)
def test_a_url_that_leads_nowhere(tmp_path: Path, url: str, exit_code: int, reason: str, part: str) -> None:
    outcome = Plane(url, tmp_path).run("expand", "1.0.0", "1.1.0")
    assert (outcome.exit_code, outcome.reason) == (exit_code, reason)
    assert part in outcome.answer["message"] + outcome.answer["mend"]
    assert "hunter2" not in outcome.output
    assert outcome.answer["untouched"] is True


def test_a_password_is_never_printed(blank: Plane, server: Server) -> None:
    wrong = blank.url.replace(PASSWORD_IN_URL, "wr%40ng-secret")
    outcomes = [
        Plane(wrong, blank.folder).run("expand", "1.0.0", "1.1.0"),
        Plane(server.url("no_such_database"), blank.folder).run("expand", "1.0.0", "1.1.0"),
        telling(blank, PASSWORD),
        telling(blank, server.url("x")),
    ]
    for outcome in outcomes:
        assert outcome.exit_code
        for secret in (PASSWORD, PASSWORD_IN_URL, "wr@ng-secret", "wr%40ng-secret"):
            assert secret not in outcome.output
    assert "***" in outcomes[-1].answer["message"]


def test_a_read_only_database_is_worth_another_try(blank: Plane) -> None:
    name = blank.value("SELECT current_database()")
    blank.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    outcome = blank.run("expand", "", "1.0.0")
    assert (outcome.exit_code, outcome.reason) == (2, "DatabaseReadOnly")
    assert "primary" in outcome.answer["mend"]


def test_missing_rights_are_told_with_the_grant(blank: Plane, server: Server) -> None:
    name = blank.value("SELECT current_database()")
    blank.execute("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'plain'")
    plain = Plane(f"postgresql://plain:plain@127.0.0.1:{server.port}/{name}", blank.folder)
    outcome = plain.run("expand", "", "1.0.0")
    assert (outcome.exit_code, outcome.reason) == (1, "RightsMissing")
    assert "CREATE on the database" in outcome.answer["mend"]


@pytest.mark.parametrize(
    ("source", "target", "more", "part"),
    [
        ("1.0", "1.1.0", {}, "--from: '1.0'"),
        ("1.0.0", "1.1.0+build", {}, "--to: '1.1.0+build'"),
        ("1.0.0", "1.1.0", {"attempt": "0"}, "--attempt '0'"),
        ("1.0.0", "1.1.0", {"upgrade": " "}, "--upgrade is empty"),
    ],
)
def test_wrong_arguments_are_not_worth_another_try(
    tmp_path: Path, source: str, target: str, more: Mapping[str, str], part: str
) -> None:
    outcome = Plane("", tmp_path).run("expand", source, target, **more)
    assert (outcome.exit_code, outcome.reason) == (1, "ArgumentInvalid")
    assert part in outcome.answer["message"]


def test_an_unknown_verb_and_a_bootstrap_backout_are_refused(tmp_path: Path) -> None:
    assert Plane("", tmp_path).run("vacuum", "1.0.0", "1.1.0").reason == "ArgumentInvalid"
    assert "by hand" in Plane("", tmp_path).run("backout", "", "1.1.0").answer["mend"]


def test_a_wrong_setting_names_its_variable(tmp_path: Path) -> None:
    outcome = Plane("", tmp_path, settings={"MIGRATOR_BATCH_ROWS": "lots"}).run("expand", "1.0.0", "1.1.0")
    assert (outcome.exit_code, outcome.reason) == (1, "SettingInvalid")
    assert "MIGRATOR_BATCH_ROWS='lots'" in outcome.answer["message"]


def test_a_url_is_taken_apart() -> None:
    dsn = parse_dsn("postgres://ada:p%40ss@db.prod.svc:6432/mc?sslmode=require")
    assert dsn.place == "db.prod.svc:6432/mc"
    assert dsn.parameters["password"] == "p@ss"
    assert (
        dsn.redact("p@ss and p%40ss, postgresql://ada:other@db/mc")
        == "*** and ***, postgresql://ada:***@db/mc"
    )
    with pytest.raises(Stop):
        parse_dsn("   ")


def telling(plane: Plane, text: str) -> Outcome:
    """A script whose failure quotes `text`."""
    plane.write_files(
        {"1.1.0/expand.sql": f"DO $q$ BEGIN RAISE EXCEPTION USING MESSAGE = $w${text}$w$; END $q$;"}
    )
    return plane.run("expand", "1.0.0", "1.1.0")
