"""The scans of `make lint` find what is planted: a secret, a withdrawn release, a known vulnerability."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripts import scan_dependencies, scan_secrets

# Git and uv take seconds.
pytestmark = pytest.mark.story

ROOT = Path(__file__).resolve().parents[2]
#: In pieces, or the scan would find them here.
PLANTED = {
    "an access key": "key_id = 'AKIA" + "IOSFODNN7QXAMPLE'",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a password in a URL": "url = 'postgresql://mc:" + "hunter2hunter2@db/mc'",
    "a plain one": "pass" + "word = 'correct-horse-battery'",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    settings = json.loads((ROOT / scan_secrets.BASELINE).read_text())
    (tmp_path / scan_secrets.BASELINE).write_text(json.dumps({**settings, "results": {}}))
    (tmp_path / "clean.py").write_text("print('nothing to see')\n")
    return tmp_path


def test_a_clean_tree_is_clean(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan_secrets.main(repository, []) == 0
    assert "none in 1 files" in capsys.readouterr().out


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_secret_is_found(repository: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "settings.py").write_text(f"# first line\n{PLANTED[what]}\n")
    assert scan_secrets.main(repository, []) == 1
    assert "settings.py:2: looks like a secret" in capsys.readouterr().out


def test_what_was_accepted_may_move_but_not_multiply(repository: Path) -> None:
    planted, other = PLANTED["a plain one"], PLANTED["an access key"]
    (repository / "settings.py").write_text(f"{planted}\n")
    assert scan_secrets.main(repository, ["--accept"]) == 0
    (repository / "settings.py").write_text(f"\n\n{planted}\n")
    assert scan_secrets.main(repository, []) == 0
    (repository / "settings.py").write_text(f"{planted}\n{other}\n")
    assert scan_secrets.main(repository, []) == 1


def test_the_baseline_sends_nothing_anywhere() -> None:
    baseline = json.loads((ROOT / scan_secrets.BASELINE).read_text())
    assert not [item for item in baseline["filters_used"] if "verification" in item["path"]]


def wheel(folder: Path, name: str, version: str) -> Path:
    """The smallest package that can be installed."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


class Services(BaseHTTPRequestHandler):
    """A registry with one good, one withdrawn package, and an advisory database that knows one vulnerability."""

    wheels: dict[str, Path]

    def do_GET(self) -> None:
        name = self.path.rstrip("/").rpartition("/")[2]
        if self.path.startswith("/simple/") and name in self.wheels:
            path = self.wheels[name]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            withdrawn = ' data-yanked="stolen credentials"' if name == "withdrawn" else ""
            self._say(f'<a href="/files/{path.name}#sha256={digest}"{withdrawn}>{path.name}</a>', "text/html")
        elif self.path.startswith("/files/"):
            folder = next(iter(self.wheels.values())).parent
            self._say((folder / name).read_bytes(), "application/octet-stream")
        elif self.path.startswith("/v1/vulns/"):
            known = {"package": {"name": "vulnerable", "ecosystem": "PyPI"}, "versions": ["1.0.0"]}
            when = "2024-01-01T00:00:00Z"
            self._say(json.dumps({"id": name, "modified": when, "summary": "planted", "affected": [known]}))
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = {"vulns": [{"id": "GHSA-plan-ted0-0000", "modified": "2024-01-01T00:00:00Z"}]}
        self._say(
            json.dumps(
                {"results": [found if item["package"]["name"] == "vulnerable" else {} for item in asked]}
            )
        )

    def do_HEAD(self) -> None:
        self.do_GET()

    def _say(self, content: str | bytes, kind: str = "application/json") -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    names = ("good", "withdrawn", "vulnerable")
    handler = type("Here", (Services,), {"wheels": {name: wheel(tmp_path, name, "1.0.0") for name in names}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    for setting in ("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{base}/simple/")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    yield base
    server.shutdown()
    server.server_close()


def lock(folder: Path, *names: str) -> Path:
    path = folder / "requirements.lock"
    lines = []
    for name in names:
        digest = hashlib.sha256((folder / f"{name}-1.0.0-py3-none-any.whl").read_bytes()).hexdigest()
        lines.append(f"{name}==1.0.0 ; python_version >= '3.0' \\\n    --hash=sha256:{digest}\n")
    path.write_text("".join(lines))
    return path


def test_good_packages_are_good(tmp_path: Path, services: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan_dependencies.scan([lock(tmp_path, "good")], service=services) == 0
    said = capsys.readouterr().out
    assert "1 locked releases" in said
    assert "each was looked up in the advisory database" in said


def test_a_withdrawn_release_is_found(
    tmp_path: Path, services: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan_dependencies.scan([lock(tmp_path, "good", "withdrawn")], service=services) == 1
    assert 'withdrawn==1.0.0` is yanked (reason: "stolen credentials")' in capsys.readouterr().out


def test_a_known_vulnerability_is_found(
    tmp_path: Path, services: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan_dependencies.scan([lock(tmp_path, "good", "vulnerable")], service=services) == 1
    assert "GHSA-plan-ted0-0000" in capsys.readouterr().out


def test_without_a_database_nothing_is_claimed(
    tmp_path: Path, services: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = "http://127.0.0.1:1"
    assert scan_dependencies.scan([lock(tmp_path, "vulnerable")], service=nobody) == 0
    assert "NOT CHECKED for known vulnerabilities" in capsys.readouterr().out
    assert scan_dependencies.scan([lock(tmp_path, "vulnerable")], service=nobody, required=True) == 1


def test_a_registry_that_is_away_is_an_error(
    tmp_path: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple/")
    with pytest.raises(scan_dependencies.ScanError):
        scan_dependencies.withdrawn(lock(tmp_path, "good"))


def test_every_lock_is_looked_at() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.lock"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(listed) == set(scan_dependencies.LOCKS)
    assert all(scan_dependencies.pinned(ROOT / name) for name in scan_dependencies.LOCKS)
