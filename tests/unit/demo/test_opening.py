"""What is said before the first step: how long it will take here, and why."""

from __future__ import annotations

import pytest
from demo.estimate import Part, cache_sentence, missing_seconds
from demo.opening import commands_lines, fact
from demo.options import Options, parse_options
from demo.plan import STAGES, about, limit_sentence, plan_lines, planned, stage_line, total

from conductor.cli.style import Style

COLD = [
    Part("kubernetes", "cluster", False, 520),
    Part("coredns", "cluster", False, 150),
    Part("helm", "cluster", False, 60),
    Part("pause", "cluster", False, 5),
    Part("load", "images", True, 20),
]


def test_what_is_missing_decides_how_long_a_step_takes() -> None:
    assert missing_seconds(COLD, "cluster") == 735
    assert missing_seconds(COLD, "images") == 0
    steps = planned({"plane": 40.0}, {"cluster": 735.0})
    assert [step.number for step in steps] == list(range(1, len(STAGES) + 1))
    assert steps[0].expected == 737
    assert steps[3].expected == 40
    assert total(steps) == 737 + 40 + sum(
        stage.seconds for stage in STAGES if stage.key not in ("cluster", "plane")
    )


def test_the_slowest_missing_parts_are_named() -> None:
    assert cache_sentence(COLD) == (
        "1 of 5 parts are built; to build: kubernetes 8m 40s, coredns 2m 30s, helm 1m 00s and 1 more"
    )
    assert cache_sentence([part for part in COLD if part.cached]) == "all 1 parts are built already"


def test_estimates_are_as_rough_as_they_are_sure() -> None:
    assert [about(seconds) for seconds in (1, 42, 89, 95, 1500)] == [
        "about 5 s",
        "about 40 s",
        "about 90 s",
        "about 2 minutes",
        "about 25 minutes",
    ]
    assert limit_sentence(warm=True).startswith("at most 8 ")
    assert limit_sentence(warm=False).startswith("at most 35 ")


def test_every_line_fits_80_columns() -> None:
    steps = planned({}, {"cluster": 900.0})
    lines = plan_lines(steps, Style(width=80)) + fact("Cache", cache_sentence(COLD), Style(width=80))
    lines.append(stage_line(steps[8], "good", 3599, "RolledBack (Unhealthy)", Style(width=80)))
    assert max(map(len, lines)) <= 80


def test_another_cluster_stands_in_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MC_CLUSTER", raising=False)
    standard = "\n".join(commands_lines(Options(), Style()))
    assert 'eval "$(scripts/cluster.sh env)"' in standard
    assert "kubectl get cpr -n mc-demo -w" in standard
    other = "\n".join(commands_lines(Options(instance="second"), Style()))
    assert 'eval "$(MC_CLUSTER_INSTANCE=second scripts/cluster.sh env)"' in other
    assert "MC_CLUSTER_INSTANCE=second make demo-down" in other
    monkeypatch.setenv("MC_CLUSTER", "existing")
    assert "MC_CLUSTER=existing make demo-down" in "\n".join(commands_lines(Options(), Style()))


def test_options_have_the_standard_of_make_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MC_CLUSTER_INSTANCE", raising=False)
    assert parse_options([]) == Options()
    assert parse_options(["down", "--json"]) == Options(down=True, as_json=True)
    monkeypatch.setenv("MC_CLUSTER_INSTANCE", "second")
    assert parse_options([]).instance == "second"


@pytest.mark.parametrize("wrong", [["--namespace", "Not_a_name"], ["--rows", "10"], ["--rate", "9000"]])
def test_a_wrong_option_is_named(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(wrong)
    assert f"{wrong[0]}: " in capsys.readouterr().err
