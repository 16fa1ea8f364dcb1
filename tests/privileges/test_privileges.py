"""After all e2e tests: the operator used every right that its chart grants, and no other.

A stage of its own (`scripts/stages.py`), because only a whole run uses everything. It reads the API server's audit
log, which only the local way to a cluster has; on the others the stage is not run, and `make test` says so.
"""

from __future__ import annotations

import functools

import pytest
import yaml

from harness.audit import Record, log_directories, recorded, run_started
from harness.grants import Grant, beyond, granted, unused
from harness.operator_install import CHART, HELM_RELEASE, NAMESPACE, helm

USER = f"system:serviceaccount:{NAMESPACE}:{HELM_RELEASE}"


@pytest.fixture(scope="module")
def record() -> Record:
    """What was asked for on every cluster of the run."""
    found = (recorded(USER, log, since=run_started()) for log in log_directories())
    return functools.reduce(Record.__or__, found)


@pytest.fixture(scope="module")
def grants() -> frozenset[Grant]:
    """What the chart grants as the e2e tests install it: cluster-wide, with its own values."""
    text = helm("template", HELM_RELEASE, str(CHART), "--namespace", NAMESPACE)
    found = granted((item for item in yaml.safe_load_all(text) if item), HELM_RELEASE, NAMESPACE)
    assert found, "the chart grants nothing, so there is nothing to compare"
    return found


def test_nothing_was_used_that_is_not_granted(record: Record, grants: frozenset[Grant]) -> None:
    assert beyond(grants, record.allowed) == [], "used, but by no role of the chart"


def test_nothing_was_asked_for_in_vain(record: Record, grants: frozenset[Grant]) -> None:
    """What is granted may be refused all the same while the chart is uninstalled: its roles go before its pod."""
    refused = beyond(grants, record.forbidden)
    assert refused == [], "the operator asked for this and was not allowed; grant it, or do not ask"


def test_nothing_is_granted_that_was_never_used(record: Record, grants: frozenset[Grant]) -> None:
    assert unused(grants, record.allowed) == [], (
        "granted, but not used by any e2e test; take it out, or test it"
    )
