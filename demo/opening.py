"""What is said before the first step and after the last one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from cluster.interface import Cluster
from conductor.cli.render import wrapped
from conductor.cli.style import Style
from demo.estimate import Part, cache_sentence, missing_seconds, starting_seconds
from demo.options import RELEASE, Options
from demo.plan import WARM_LIMIT_SECONDS, Planned, about, limit_sentence, plan_lines, total

TITLE = "Maestro Conductor: one control plane, three upgrades, users all the while"


def extra_seconds(found: Sequence[Part], cluster: Cluster) -> dict[str, float]:
    """What the first steps have to build and start here."""
    return {
        "cluster": missing_seconds(found, "cluster") + starting_seconds(cluster),
        "images": missing_seconds(found, "images"),
    }


def opening_lines(
    options: Options,
    cluster: Cluster,
    found: Sequence[Part],
    steps: Sequence[Planned],
    style: Style,
    *,
    listed: bool,
) -> list[str]:
    """`listed`: with the steps; where the screen is redrawn they stand below the one that goes on."""
    seconds = total(steps)
    warm = seconds <= WARM_LIMIT_SECONDS
    where = f"{cluster.way} way" + (f", instance {options.instance}" if options.instance else "")
    return [
        "",
        f"  {style.paint('strong', TITLE)}",
        "",
        *fact("Cluster", f"{where}, {os.cpu_count()} processors", style),
        *fact("Cache", cache_sentence(found), style),
        *fact("Time", f"{about(seconds)}; {limit_sentence(warm)}", style),
        "",
        *([*plan_lines(steps, style), ""] if listed else []),
    ]


def fact(label: str, text: str, style: Style) -> list[str]:
    return [f"  {line}" for line in wrapped(label, text, replace(style, width=style.width - 2))]


def commands_lines(options: Options, style: Style) -> list[str]:
    """Three commands to try, and the line that makes them work in a shell."""
    chosen = f"MC_CLUSTER_INSTANCE={shlex.quote(options.instance)} " if options.instance else ""
    asked = os.environ.get("MC_CLUSTER", "")
    chosen = f"MC_CLUSTER={shlex.quote(asked)} {chosen}" if asked else chosen
    where = f"-n {options.namespace}"
    return [
        "  The cluster stays. In this folder:",
        "",
        f'    eval "$({chosen}scripts/cluster.sh env)"; export PATH="$PWD/.venv/bin:$PATH"',
        "",
        *(
            f"    {style.paint('strong', command)}"
            for command in (
                f"conductor status {RELEASE} {where}",
                f"conductor watch {RELEASE} {where}",
                f"kubectl get cpr {where} -w",
            )
        ),
        "",
        f"  {chosen}make demo-down removes every trace of it.",
        "",
    ]
