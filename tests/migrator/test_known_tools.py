"""Alembic and Django, really run by the runner: an upgrade there and back, and what their usual ways break.

A process of either takes half a second of processor: what is not needed after every change is run by
`make chaos-migrations`. For Flyway see test_flyway.py.
"""

import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.migrator.plane import Plane
from tests.migrator.server import Server
from tests.migrator.test_refusals import says

from migrator.lint.command import CLEAN, FOUND, main

DIVERGENCE = "SELECT count(*) FROM told WHERE second IS DISTINCT FROM what"
ALEMBIC_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1))
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
ALEMBIC_STEPS = {
    "0001": (
        'op.create_table("told", sa.Column("n", sa.Integer, primary_key=True), sa.Column("what", sa.Text))',
        'op.drop_table("told")',
    ),
    "0002": ('op.add_column("told", sa.Column("second", sa.Text))', 'op.drop_column("told", "second")'),
    "0003": ('op.execute("UPDATE told SET second = what")', 'op.execute("UPDATE told SET second = NULL")'),
    "0004": ('op.drop_column("told", "what")', 'op.add_column("told", sa.Column("what", sa.Text))'),
}
DJANGO_SETTINGS = """
import os
from urllib.parse import unquote, urlsplit

at = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": at.path[1:], "USER": at.username,
    "PASSWORD": unquote(at.password), "HOST": at.hostname, "PORT": at.port,
}}
INSTALLED_APPS = ["told"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODEL = """migrations.CreateModel(
    "Told",
    [("n", models.IntegerField(primary_key=True)), ("what", models.TextField(null=True))],
    options={"db_table": "told"},
)"""
DJANGO_STEPS = {
    "0001": MODEL,
    "0002": 'migrations.AddField("told", "second", models.TextField(null=True))',
    "0003": 'migrations.RunSQL("UPDATE told SET second = what", "UPDATE told SET second = NULL")',
    "0004": 'migrations.RemoveField("told", "what")',
}


def alembic(folder: Path, changed: Mapping[str, tuple[str, str]] | None = None) -> dict[str, str]:
    """A project of Alembic's, and how it is asked and moved."""
    project = folder / "alembic"
    (project / "versions").mkdir(parents=True, exist_ok=True)
    (project / "alembic.ini").write_text(f"[alembic]\nscript_location = {project}\n")
    (project / "env.py").write_text(ALEMBIC_ENV)
    before: str | None = None
    for revision, (upgrade, downgrade) in {**ALEMBIC_STEPS, **(changed or {})}.items():
        (project / "versions" / f"{revision}.py").write_text(
            f"import sqlalchemy as sa\nfrom alembic import op\nrevision = {revision!r}\ndown_revision = {before!r}\n"
            f"def upgrade():\n    {upgrade}\ndef downgrade():\n    {downgrade}\n"
        )
        before = revision
    program = [sys.executable, "-m", "alembic", "-c", str(project / "alembic.ini")]
    return files(
        [*program, "current"],
        [*program, "upgrade", "{target}"],
        [*program, "downgrade", "{target}"],
        r"^(\d{4})",
    )


def django(folder: Path, changed: Mapping[str, str] | None = None) -> dict[str, str]:
    """A project of Django's with one application."""
    app = folder / "django" / "told"
    (app / "migrations").mkdir(parents=True, exist_ok=True)
    for package in (app, app / "migrations"):
        (package / "__init__.py").write_text("")
    (folder / "django" / "plain_settings.py").write_text(DJANGO_SETTINGS)
    before: str | None = None
    for revision, operation in {**DJANGO_STEPS, **(changed or {})}.items():
        needed = [("told", f"{before}_step")] if before else []
        (app / "migrations" / f"{revision}_step.py").write_text(
            f"from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
            f"    dependencies = {needed!r}\n    operations = [{operation}]\n"
        )
        before = revision
    program = ["env", f"PYTHONPATH={folder / 'django'}", "DJANGO_SETTINGS_MODULE=plain_settings",
               sys.executable, "-m", "django"]  # fmt: skip
    move = [*program, "migrate", "told", "{target}"]
    return files([*program, "showmigrations", "told", "--plan"], move, move, r"^\[X\]\s+told\.(\d{4})")


def files(state: list[str], forward: list[str], back: list[str], pattern: str) -> dict[str, str]:
    return {
        "tool.json": json.dumps({"state": state, "forward": forward, "back": back, "statePattern": pattern}),
        "1.0.0/targets.json": json.dumps({"before": "", "expand": "0001"}),
        "1.1.0/targets.json": json.dumps(
            {"before": "0001", "expand": "0002", "migrate": "0003", "contract": "0004"}
        ),
        "1.1.0/divergence.sql": DIVERGENCE,
    }


pytestmark = pytest.mark.timeout(300)
Project = Callable[..., dict[str, str]]
TOOLS = pytest.mark.parametrize("project", [alembic, django], ids=["alembic", "django"])


def installed(plane: Plane, project: Mapping[str, str]) -> None:
    """1.0.0 with some rows, by the tool itself."""
    plane.write_files(project)
    plane.done("expand", "", "1.0.0", upgrade="u0")
    assert columns(plane) == {"n", "what"}
    plane.execute("INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, 25) AS n")


def columns(plane: Plane) -> set[str]:
    found = plane.value(
        "SELECT array_agg(column_name::text) FROM information_schema.columns WHERE table_name = 'told'"
    )
    return set(found)


@TOOLS
def test_there_and_back(blank: Plane, project: Project) -> None:
    installed(blank, project(blank.folder))
    blank.done("expand", "1.0.0", "1.1.0")
    assert blank.done("migrate", "1.0.0", "1.1.0")["divergence"] == 0
    assert blank.value("SELECT count(*) FROM told WHERE second = 'w' || n") == 25
    assert blank.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out"
    assert columns(blank) == {"n", "what"}


@pytest.mark.chaos
@TOOLS
def test_through_to_contract(blank: Plane, project: Project) -> None:
    installed(blank, project(blank.folder))
    for verb in ("expand", "migrate", "contract"):
        blank.done(verb, "1.0.0", "1.1.0")
    assert columns(blank) == {"n", "second"}
    assert blank.value("SELECT count(*) FROM told WHERE second = 'w' || n") == 25


@pytest.mark.chaos
def test_a_field_of_django_with_a_default_of_python_alone_is_refused(blank: Plane) -> None:
    """Django adds the column with a default and takes the default away again: what the old version inserts fails."""
    required = 'migrations.AddField("told", "second", models.TextField(default="x"))'
    blank.write_files(django(blank.folder, {"0002": required}))
    blank.done("expand", "", "1.0.0", upgrade="u0")
    refused = blank.run("expand", "1.0.0", "1.1.0")
    says(refused, 1, "PhaseBreach", "1.1.0/targets.json", "column told.second is NOT NULL without a default")
    assert blank.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out"
    blank.execute("INSERT INTO told (n, what) VALUES (1, 'by the old version')")


@pytest.mark.chaos
def test_a_rename_of_alembic_is_refused(blank: Plane) -> None:
    rename = (
        'op.alter_column("told", "what", new_column_name="second")',
        'op.alter_column("told", "second", new_column_name="what")',
    )
    blank.write_files(alembic(blank.folder, {"0002": rename}))
    blank.done("expand", "", "1.0.0", upgrade="u0")
    says(blank.run("expand", "1.0.0", "1.1.0"), 1, "PhaseBreach", "column told.what becomes told.second")
    blank.done("backout", "1.0.0", "1.1.0")
    assert columns(blank) == {"n", "what"}


@pytest.mark.chaos
@TOOLS
def test_lint_rehearses_it_before_there_is_an_image(
    blank: Plane, server: Server, tmp_path: Path, project: Project
) -> None:
    late = {
        alembic: {"0003": ('op.add_column("told", sa.Column("late", sa.Text))', "pass")},
        django: {"0003": 'migrations.AddField("told", "late", models.TextField(null=True))'},
    }
    for changed, expected in (({}, (CLEAN, [])), (late[project], (FOUND, ["schema-changed"]))):
        blank.write_files(project(tmp_path, changed))
        out = io.StringIO()
        code = main([str(blank.migrations), "--dsn", server.url("postgres"), "--json"], {}, out)
        assert (code, [each["rule"] for each in json.loads(out.getvalue())["findings"]]) == expected, (
            out.getvalue()
        )
