"""Fixtures of the e2e tests: the cluster, the operator in it, a namespace per test that explains itself on failure."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import operator_install
from harness.crash_runs import Lane, lane
from harness.kube import Kube, connect
from harness.namespaces import namespace
from harness.stories import PodinfoUpgrade

FAILED = pytest.StashKey[bool]()
#: These take minutes each. Where several processes share the files, they are begun first.
LONGEST = ("test_mc.py", "test_podinfo.py", "test_bad_input.py", "test_deletion.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The cluster of KUBECONFIG, whichever of the three ways it came by."""
    with connect() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def operator(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The operator, installed by its chart; it stays, so that the next run need not wait for it.

    Where several processes share the tests, the first one installs it for all: another installation would
    restart the operator under the others' stories.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        operator_install.install(kube)
        return
    with shared_by_all(tmp_path_factory) as shared:
        installed = shared / "operator.installed"
        if not installed.exists():
            operator_install.install(kube)
            installed.touch()


@pytest.fixture(scope="module")
def no_other_operator(kube: Kube, operator: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Only rigs' operators work meanwhile, each in its namespace: the installed one is away, its CRD and rights stay.

    Where several processes have rigs, the last one brings it back.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        operator_install.scale(kube, 0)
        yield
        operator_install.scale(kube, 1)
        return
    own = f"{os.environ['PYTEST_XDIST_WORKER']}.without-operator"
    with shared_by_all(tmp_path_factory) as shared:
        operator_install.scale(kube, 0)
        (shared / own).touch()
    yield
    with shared_by_all(tmp_path_factory) as shared:
        (shared / own).unlink()
        if not list(shared.glob("*.without-operator")):
            operator_install.scale(kube, 1)


@contextmanager
def shared_by_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of all processes of this run, for one of them at a time."""
    shared = tmp_path_factory.getbasetemp().parent
    with (shared / "processes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared


@pytest.fixture
def test_namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own; when the test failed, what went on in it is printed before it goes."""
    with namespace(kube, "e2e", failed=lambda: request.node.stash.get(FAILED, False)) as name:
        yield name


@pytest.fixture(autouse=True)
def _operator_log_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "operator" in request.fixturenames and request.node.stash.get(FAILED, False):
        cluster: Kube = request.getfixturevalue("kube")
        print(operator_install.logs(cluster))


@pytest.fixture(scope="module")
def podinfo_lane(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> Iterator[Lane[PodinfoUpgrade]]:
    """podinfo at rest under an operator of its own, which the tests of a module upgrade one after the other."""
    before = request.session.testsfailed
    with lane(kube, PodinfoUpgrade, failed=lambda: request.session.testsfailed > before) as ready:
        yield ready
