"""Whoever brings only a kubeconfig can run the project's stories on that cluster, this very one here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORY = "tests/e2e/test_podinfo.py::test_a_first_install_serves_and_is_removed_where_that_is_asked_for"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.elsewhere,
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("kube"),
]


def test_a_story_runs_with_nothing_but_a_kubeconfig(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(Path(os.environ["KUBECONFIG"]).read_bytes())
    done = subprocess.run(
        ["scripts/cluster.sh", "exec", "python", "-m", "pytest", STORY, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "MC_CLUSTER": "existing", "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
