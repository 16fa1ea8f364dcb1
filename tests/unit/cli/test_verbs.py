"""What the verbs ask of the operator, and what they refuse with which mend."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conductor.adapters.release_access import ReleaseAccess, UnreachableError
from conductor.cli import VERBS, main, make_parser
from conductor.cli.options import NOT_UPGRADED, OK, TIMED_OUT, CommandError, Terminal
from conductor.cli.style import Style
from conductor.cli.watch import follow

from .conftest import (
    Json,
    StoredReleases,
    contract_failed_at_rest,
    contract_pending,
    contracting,
    disputed,
    ramping,
    rolled_back,
    soaking,
    stable,
    target_not_ready,
    unseen,
    waiting_for_approval,
    written,
)
from .kept_schemas import backout_failed_at_rest, schema_kept


def carry_out(releases: StoredReleases, out: Terminal, *words: str) -> int:
    arguments = make_parser("conductor").parse_args(words)
    return VERBS[arguments.verb].run(arguments, releases, out)


@pytest.mark.parametrize(
    ("make", "words", "annotation", "value"),
    [
        (soaking, ("rollback", "mc"), "rollback", "u2-bbbbbbbbbb"),
        (soaking, ("rollback", "mc", "--upgrade", "u2-bbbbbbbbbb"), "rollback", "u2-bbbbbbbbbb"),
        (ramping, ("abort", "mc"), "abort", "u2-bbbbbbbbbb"),
        (waiting_for_approval, ("approve", "mc"), "approve", "u2-bbbbbbbbbb/switch"),
        (soaking, ("approve", "mc", "contract"), "approve", "u2-bbbbbbbbbb/contract"),
        (rolled_back, ("retry", "mc"), "retry", "u4-cccccccccc"),
        (contracting, ("retry", "mc"), "retry", "u2-bbbbbbbbbb/contract/1"),
        (contract_pending, ("approve", "mc", "contract"), "approve", "u2-bbbbbbbbbb/contract"),
        (contract_failed_at_rest, ("retry", "mc"), "retry", "u2-bbbbbbbbbb/contract/2"),
        (schema_kept, ("approve", "mc", "backout"), "approve", "u2-bbbbbbbbbb/backout"),
        (backout_failed_at_rest, ("approve", "mc", "accept-loss"), "approve", "u2-bbbbbbbbbb/accept-loss"),
        (backout_failed_at_rest, ("retry", "mc"), "retry", "u2-bbbbbbbbbb/backout/2"),
        (target_not_ready, ("approve", "mc", "stay"), "approve", "u2-bbbbbbbbbb/stay"),
        (disputed, ("retry", "mc"), "retry", "u2-bbbbbbbbbb/traffic/2"),
    ],
)
def test_a_command_is_an_annotation_bound_to_the_upgrade(
    make: Callable[[], Json], words: tuple[str, ...], annotation: str, value: str, out: Terminal
) -> None:
    releases = StoredReleases(make())
    assert carry_out(releases, out, *words) == OK
    assert releases.written == [{f"maestro-conductor.io/{annotation}": value}]
    assert "prod/mc" in written(out)


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (stable, ("rollback", "mc"), "spec.rollbackTo"),
        (rolled_back, ("rollback", "mc"), "already ended as RolledBack, and 1.1.0 serves"),
        (contracting, ("rollback", "mc"), "ContractCommitted"),
        (contracting, ("abort", "mc"), "ContractCommitted"),
        (stable, ("abort", "mc"), "nothing to abort"),
        (stable, ("approve", "mc"), "nothing to approve"),
        (soaking, ("approve", "mc"), "name the step: switch or contract"),
        (
            contract_pending,
            ("approve", "mc"),
            "there is no way back after it; to run it now, name it: contract",
        ),
        (contract_pending, ("approve", "mc", "switch"), "left for later"),
        (schema_kept, ("approve", "mc", "accept-loss"), "nothing to approve"),
        (soaking, ("approve", "mc", "accept-loss"), "accept-loss is no way out of what prod/mc is in"),
        (soaking, ("approve", "mc", "stay"), "stay is no way out of what prod/mc is in"),
        (stable, ("retry", "mc"), "no upgrade of prod/mc has failed"),
        (soaking, ("retry", "mc"), "is under way (Soaking)"),
        (soaking, ("rollback", "mc", "--upgrade", "u1"), "that is 'u2-bbbbbbbbbb' (1.0.0 to 1.1.0)"),
        (stable, ("status", "mc", "-A"), "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_mend(
    make: Callable[[], Json], words: tuple[str, ...], said: str, out: Terminal
) -> None:
    releases = StoredReleases(make())
    with pytest.raises(CommandError) as refusal:
        carry_out(releases, out, *words)
    assert said in str(refusal.value)
    assert not releases.written


def test_a_first_install_has_nothing_to_go_back_to(out: Terminal) -> None:
    item = soaking()
    item["status"]["upgrade"]["from"] = ""
    with pytest.raises(CommandError, match="first time"):
        carry_out(StoredReleases(item), out, "rollback", "mc")


def test_a_changed_spec_needs_no_retry(out: Terminal) -> None:
    item = rolled_back()
    item["spec"]["version"] = "1.2.2"
    item["status"]["conditions"][2]["status"] = "False"
    with pytest.raises(CommandError, match="tries a changed spec by itself"):
        carry_out(StoredReleases(item), out, "retry", "mc")


def test_json_answers_can_be_read_by_programs(out: Terminal) -> None:
    releases = StoredReleases(soaking())
    assert carry_out(releases, out, "rollback", "mc", "--json") == OK
    assert json.loads(written(out)) == {
        "namespace": "prod",
        "name": "mc",
        "annotation": "maestro-conductor.io/rollback",
        "value": "u2-bbbbbbbbbb",
    }


def test_status_answers_with_the_object(out: Terminal) -> None:
    carry_out(StoredReleases(soaking()), out, "status", "mc", "--json")
    assert json.loads(written(out))["status"]["phase"] == "Soaking"


def test_status_of_all(out: Terminal) -> None:
    carry_out(StoredReleases(soaking()), out, "status")
    assert "Soaking" in written(out)


def no_pause(_seconds: float) -> None:
    return


def test_watch_tells_each_change_once_and_ends_at_rest(out: Terminal) -> None:
    done = stable()
    done["spec"]["version"] = done["status"]["activeVersion"] = "1.1.0"
    releases = StoredReleases(ramping(), then=(ramping(), soaking(), soaking(), done))
    ended = follow(releases, "mc", out, pause=no_pause)
    assert ended is not None
    assert ended.version == "1.1.0"
    changes = written(out).split("\n\n")[0].splitlines()
    assert [line.split()[2] for line in changes] == ["Ramping", "Soaking", "Stable"]


def test_watch_waits_for_an_operator_that_has_not_seen_the_spec(out: Terminal) -> None:
    done = stable()
    done["metadata"]["generation"] = done["status"]["observedGeneration"] = 2
    ended = follow(StoredReleases(unseen(), then=(unseen(), done)), "mc", out, pause=no_pause)
    assert ended is not None
    assert ended.seen


@pytest.mark.parametrize(("make", "code"), [(stable, OK), (rolled_back, NOT_UPGRADED)])
def test_the_exit_code_tells_whether_the_version_asked_for_serves(
    make: Callable[[], Json], code: int, out: Terminal
) -> None:
    assert carry_out(StoredReleases(make()), out, "watch", "mc") == code


def test_watch_gives_up_in_time(out: Terminal) -> None:
    assert carry_out(StoredReleases(soaking()), out, "watch", "mc", "--timeout", "-1") == TIMED_OUT


def test_watch_does_not_end_with_a_release_that_waits_for_a_person(out: Terminal) -> None:
    waiting = stable()
    waiting["status"]["reason"] = "Paused"
    ended = follow(StoredReleases(waiting, then=(waiting, stable())), "mc", out, pause=no_pause)
    assert ended is not None
    assert ended.reason == "Stable"


def test_watch_lives_through_an_api_server_that_is_away(out: Terminal) -> None:
    class Flaky(StoredReleases):
        looks = 0

        def get(self, name: str) -> Json:
            self.looks += 1
            if self.looks < 3:
                raise UnreachableError("the API server does not answer")
            return super().get(name)

    ended = follow(Flaky(stable()), "mc", out, pause=no_pause)
    assert ended is not None
    assert written(out).count("does not answer") == 1


def test_watch_ends_when_the_release_is_deleted(out: Terminal) -> None:
    item = soaking()
    item["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    with pytest.raises(CommandError, match="being deleted"):
        follow(StoredReleases(item), "mc", out, pause=no_pause)


def test_waiting_for_a_rollback_is_well_when_it_was_rolled_back(out: Terminal) -> None:
    releases = StoredReleases(soaking(), then=(soaking(), rolled_back()))
    assert carry_out(releases, out, "rollback", "mc", "--wait") == OK


def test_on_a_terminal_the_picture_is_redrawn() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    follow(StoredReleases(ramping(), then=(stable(),)), "mc", Terminal(Style(), screen), pause=no_pause)
    assert "\x1b[J" in screen.getvalue()
    assert "F\x1b[J" in screen.getvalue()


def test_no_kubeconfig_names_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert main(["status"]) == 1
    assert "set KUBECONFIG to a kubeconfig file" in capsys.readouterr().err


@pytest.fixture
def dead_cluster(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(
        """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u, namespace: stage}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
"""
    )
    return path


def test_a_dead_server_and_a_wrong_context_name_the_mend(
    dead_cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(dead_cluster))
    assert ReleaseAccess.connect().namespace == "stage"
    assert ReleaseAccess.connect(namespace="prod").namespace == "prod"
    assert main(["status"]) == 1
    assert "the API server does not answer" in capsys.readouterr().err
    assert main(["status", "--context", "there"]) == 1
    assert "kubectl config get-contexts" in capsys.readouterr().err


def test_the_command_line_does_not_load_the_operator() -> None:
    program = (
        "import sys, conductor.cli; sys.exit('kopf' in sys.modules or 'prometheus_api_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
