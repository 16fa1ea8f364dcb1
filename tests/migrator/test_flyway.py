"""Flyway, really run by the runner. It needs Java and, once, Maven to fetch it: `make test-flyway`."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.migrator.plane import Plane
from tests.migrator.test_known_tools import DIVERGENCE, columns, installed
from tests.migrator.test_refusals import says

pytestmark = [pytest.mark.chaos, pytest.mark.java, pytest.mark.timeout(600)]
ARTIFACT = "org.flywaydb:flyway-commandline:10.22.0:tar.gz"
STEPS = {
    "1": ("CREATE TABLE told (n integer PRIMARY KEY, what text)", ""),
    "2": ("ALTER TABLE told ADD COLUMN second text", "ALTER TABLE told DROP COLUMN second"),
    "3": ("UPDATE told SET second = what", "UPDATE told SET second = NULL"),
    "4": ("ALTER TABLE told DROP COLUMN what", ""),
}
#: What an image does around Flyway: its own URL, and a way back, which its free edition has not.
PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
import psycopg

flyway, folder, *asked = sys.argv[1:]
at = urlsplit(os.environ["DATABASE_URL"])
if asked[0] == "back":
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT version FROM flyway_schema_history WHERE success AND version::int > %s ORDER BY version::int DESC",
            (asked[1],),
        ).fetchall()
        for (version,) in rows:
            connection.execute((Path(folder) / f"U{version}.sql").read_text())
            connection.execute("DELETE FROM flyway_schema_history WHERE version = %s", (version,))
    sys.exit()
sys.exit(subprocess.run([
    flyway, f"-url=jdbc:postgresql://{at.hostname}:{at.port}{at.path}", f"-user={at.username}",
    f"-password={unquote(at.password)}", f"-locations=filesystem:{folder}", "-connectRetries=0", *asked,
]).returncode)
"""


@pytest.fixture(scope="module")
def flyway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its program, by Maven's ordinary client."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.fail("Flyway needs Java and Maven: apt-get install default-jre-headless maven")
    folder = tmp_path_factory.mktemp("flyway")
    archive = folder / "flyway.tar.gz"
    for goal in (
        [f"-Dartifact={ARTIFACT}", "-Dtransitive=false", "dependency:get"],
        [
            f"-Dartifact={ARTIFACT}",
            f"-DoutputDirectory={folder}",
            "-Dmdep.stripVersion=true",
            "dependency:copy",
        ],
    ):
        subprocess.run(["mvn", "-q", "-B", *goal], check=True, timeout=500)
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
    program = next(folder.glob("flyway-*/flyway"))
    program.chmod(0o755)
    yield program
    shutil.rmtree(folder)


def project(flyway: Path, folder: Path, expand: str = STEPS["2"][0]) -> dict[str, str]:
    steps = folder / "flyway"
    steps.mkdir()
    for version, (forward, back) in {**STEPS, "2": (expand, STEPS["2"][1])}.items():
        (steps / f"V{version}__step.sql").write_text(forward)
        (steps / f"U{version}.sql").write_text(back or "SELECT 1")
    script = folder / "flyway_of_the_image.py"
    script.write_text(PROGRAM)
    program = [sys.executable, str(script), str(flyway), str(steps)]
    tool = {
        "state": [*program, "info"],
        "forward": [*program, "-target={target}", "migrate"],
        "back": [*program, "back", "{target}"],
        "statePattern": r"^\|\s*Versioned\s*\|\s*(\d+)\s*\|.*\|\s*Success\s*\|",
    }
    return {
        "tool.json": json.dumps(tool),
        "1.0.0/targets.json": json.dumps({"before": "", "expand": "1"}),
        "1.1.0/targets.json": json.dumps({"before": "1", "expand": "2", "migrate": "3", "contract": "4"}),
        "1.1.0/divergence.sql": DIVERGENCE,
    }


def test_there_and_back_and_through(blank: Plane, flyway: Path) -> None:
    installed(blank, project(flyway, blank.folder))
    blank.done("expand", "1.0.0", "1.1.0")
    assert blank.done("migrate", "1.0.0", "1.1.0")["divergence"] == 0
    assert blank.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out"
    assert columns(blank) == {"n", "what"}
    for verb in ("expand", "migrate", "contract"):
        blank.done(verb, "1.0.0", "1.1.0", upgrade="u2")
    assert columns(blank) == {"n", "second"}
    assert blank.value("SELECT count(*) FROM told WHERE second = 'w' || n") == 25


def test_an_expand_that_renames_is_refused(blank: Plane, flyway: Path) -> None:
    installed(blank, project(flyway, blank.folder, "ALTER TABLE told RENAME COLUMN what TO second"))
    says(blank.run("expand", "1.0.0", "1.1.0"), 1, "PhaseBreach", "column told.what becomes told.second")
