"""Rules for every test: what lies under tests/e2e needs a cluster, and must not be skipped there."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine draws slowly; that says nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

E2E = Path(__file__).parent / "e2e"
SKIPPED_E2E = "an e2e test may not be skipped: what it would have shown is not known"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(E2E):
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and item.path.is_relative_to(E2E):
        report.outcome = "failed"
        report.longrepr = f"{SKIPPED_E2E} ({call.excinfo.value if call.excinfo else 'no reason given'})"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and collector.path.is_relative_to(E2E):
        report.outcome = "failed"
        report.longrepr = f"{SKIPPED_E2E} (the whole module {collector.path.name})"
    return report
