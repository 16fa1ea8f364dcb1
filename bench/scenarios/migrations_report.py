"""What came of `bench/migrations.py`: its table, the ratios to the naive script, and what is not as promised."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenarios.blocking import KINDS, LIMIT_SECONDS, failed, longest
from scenarios.clients import PULSE
from scenarios.tables import columns

REST, NAIVE = "at rest", "naive script"
OURS = ("expand", "migrate", "contract")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Reads the parts of one whole run."""

    repeats: int
    parts: Mapping[str, Json]

    def lines(self) -> list[str]:
        head = [
            "phase",
            "took",
            "requests",
            "failed",
            *(f"{kind}, longest" for kind in KINDS),
            "p99",
            "clients late",
        ]
        rows = [head]
        for name in (REST, *OURS, NAIVE):
            found = self.phase(name)
            rows.append(
                [
                    name,
                    spread([float(one["seconds"]) for one in found], 1),
                    f"{sum(requests(one) for one in found):,}",
                    str(sum(map(failed, found))),
                    *(spread([one[kind]["longestSeconds"] for one in found]) for kind in KINDS),
                    spread([max(one[kind]["p99Seconds"] for kind in KINDS) for one in found]),
                    spread([one[PULSE]["longestSeconds"] for one in found]),
                ]
            )
        rates = [float(part["backfill"]["rowsPerSecond"]) for part in self._all("runner")]
        ratios = self.ratios()
        return [
            *columns(rows),
            "",
            f"seconds, median (least to greatest) of {self.repeats}; promised: no wait over {LIMIT_SECONDS:.0f} s",
            f"backfill: {spread(rates, 0)} rows/s",
            f"longest wait, naive script to runner: {ratios['longestWait']:.1f} to 1; failed requests "
            f"{sum(failed(one) for one in self.phase(NAIVE))} to {sum(failed(one) for one in self._ours())}; "
            f"time taken, runner to naive script: {ratios['timeTaken']:.1f} to 1",
        ]

    def ratios(self) -> dict[str, float]:
        """Medians over the repeats: how many times longer the script's users waited, and the runner took."""
        ours = [max(longest(phases[name]) for name in OURS) for phases in self._phases("runner")]
        naive = [longest(phases[NAIVE]) for phases in self._phases("naive")]
        took = [sum(phases[name]["seconds"] for name in OURS) for phases in self._phases("runner")]
        other = [phases[NAIVE]["seconds"] for phases in self._phases("naive")]
        return {
            "longestWait": round(statistics.median(naive) / max(statistics.median(ours), 1e-4), 1),
            "timeTaken": round(statistics.median(took) / statistics.median(other), 2),
        }

    def broken(self) -> list[str]:
        faults = []
        for name in OURS:
            for found in self.phase(name):
                if (waited := longest(found)) > LIMIT_SECONDS:
                    faults.append(
                        f"{name}: somebody waited {waited:.2f} s (the clients themselves were "
                        f"{found[PULSE]['longestSeconds']:.2f} s late at most)"
                    )
                if count := failed(found):
                    faults.append(f"{name}: {count} requests failed")
        left = [part["backfill"]["divergence"] for part in self._all("runner")]
        return faults + [f"{count} rows differ after the backfill" for count in left if count]

    def phase(self, name: str) -> list[Json]:
        return [phases[name] for way in ("runner", "naive") for phases in self._phases(way) if name in phases]

    def _ours(self) -> list[Json]:
        return [phases[name] for phases in self._phases("runner") for name in OURS]

    def _phases(self, way: str) -> list[Json]:
        return [part["phases"] for part in self._all(way)]

    def _all(self, way: str) -> list[Json]:
        return [self.parts[f"{number}/{way}"] for number in range(1, self.repeats + 1)]


def requests(phase: Json) -> int:
    return sum(int(phase[kind]["requests"]) for kind in KINDS)


def spread(values: Sequence[float], digits: int = 3) -> str:
    def shown(value: float) -> str:
        return f"{value:,.{digits}f}"

    middle = shown(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({shown(min(values))} to {shown(max(values))})"
