"""`conductor migrations lint` hands its words to the runner's lint, and says what to do where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from conductor.cli import main, migrations

ROOT = Path(__file__).parents[3]


@pytest.mark.story
def test_it_gives_the_runner_s_exit_code_and_needs_no_cluster(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "migrator"))

    assert main(["migrations", "lint", str(ROOT / "controlplane" / "migrations"), "--json"]) == 0
    assert '"refused": 0' in capfd.readouterr().out
    assert main(["migrations", "lint", str(tmp_path / "nowhere")]) == 2


def test_without_the_runner_it_names_the_image(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "RUNNER", "no_such_runner")

    assert main(["migrations", "lint", "."]) == 2
    assert "MIGRATOR_IMAGE lint /migrations" in capsys.readouterr().err
