"""The operator itself is upgraded in mid-upgrade, and taken back: what runs stays as it is, and no user notices.

The former operators are real ones: the last commit of this repository before there were receipts, with its own
chart and CRD, and the present tree with one phase that it does not know.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.images import operator_image
from cluster.interface import select
from harness import operator_install, podinfo
from harness.kube import Kube, Object
from harness.load_run import LoadRun
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.waiting import condition_of

#: Knows neither receipts nor shards, nor any field of a status that came since.
BEFORE_RECEIPTS = "908e65d92f1452f92350bae9cf22f901c4465d11"  # pragma: allowlist secret
PATIENCE_SECONDS = 120.0
HELD = "StatusOfNewerOperator"
PAIR = "replicas=2"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("operator"),
]


@dataclass(frozen=True)
class Build:
    """An operator to install: its chart, and the tag of its image in this cluster."""

    chart: Path
    tag: str

    def install(self, kube: Kube) -> None:
        operator_install.install(kube, values=[PAIR, f"image.tag={self.tag}"], chart=self.chart)


def tree_of(commit: str, target: Path) -> Path:
    """The files of a commit. A clone without history cannot tell what the operator was like."""
    archive = target / "tree.tar"
    asked = ("git", "-C", str(operator_install.REPOSITORY), "archive", "-o", str(archive), commit)
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr.strip()}; fetch the whole history of the repository"
    tree = target / "tree"
    tree.mkdir()
    subprocess.run(("tar", "-xf", str(archive), "-C", str(tree)), check=True)
    return tree


def built(tree: Path, tag: str) -> Build:
    select().load_images([operator_image(tree, tag)])
    return Build(tree / "charts" / "conductor", tag)


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return built(tree_of(BEFORE_RECEIPTS, tmp_path_factory.mktemp("former")), "before-receipts")


@pytest.fixture(scope="module")
def unknowing(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The present operator, but for the phase Soaking, which it never heard of."""
    tree = tree_of("HEAD", tmp_path_factory.mktemp("unknowing"))
    statuses = tree / "operator" / "conductor" / "api" / "status.py"
    text = statuses.read_text()
    assert text.count('"Soaking"') == 1
    statuses.write_text(text.replace('"Soaking"', '"Baking"'))
    return built(tree, "without-soaking")


@pytest.fixture(autouse=True)
def _present_operator_again(kube: Kube) -> Iterator[None]:
    yield
    operator_install.install(kube)


@dataclass(frozen=True)
class Plane:
    release: Release
    users: LoadRun

    @property
    def kube(self) -> Kube:
        return self.release.kube

    def templates(self) -> dict[str, Any]:
        found = self.kube.objects("Deployment", self.release.namespace)
        return {item["metadata"]["name"]: item["spec"]["template"] for item in found}

    def ask_for(self, version: str) -> None:
        ask(self.release, version)

    def held(self) -> bool:
        found = condition_of(self.release.read(), "Stalled")
        return found is not None and (found["status"], found["reason"]) == ("True", HELD)


def ask(release: Release, version: str) -> None:
    spec = podinfo.release_spec(version, PodinfoOptions(replicas=2, soak="45s", window="10s"))
    release.apply(changed(spec, traffic__switchHealth__missRate=0.05))


@pytest.fixture
def serving(kube: Kube, test_namespace: str) -> Iterator[Callable[[], Plane]]:
    """Installs the old version by whichever operator is there, and brings users."""
    running: list[LoadRun] = []

    def start() -> Plane:
        release = Release(kube, test_namespace, podinfo.NAME)
        ask(release, OLD_VERSION)
        release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        users = LoadRun(
            kube, podinfo.load_plan(test_namespace, **podinfo.SPARING_USERS), name="version-users"
        )
        running.append(users.__enter__())
        return Plane(release, running[0])

    yield start
    for users in running:
        users.__exit__(None, None, None)


def test_a_newer_operator_goes_on_with_what_the_former_began(
    kube: Kube, former: Build, serving: Callable[[], Plane]
) -> None:
    former.install(kube)
    plane = serving()
    plane.ask_for(NEW_VERSION)
    plane.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
    before = plane.templates()
    upgrade = plane.release.upgrade_id()

    operator_install.install(kube, values=[PAIR])
    ended = plane.release.wait_upgrade(
        NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS
    )
    summary = plane.users.stop()
    assert ended.id == upgrade
    assert plane.templates() == before
    assert not summary.faults(), summary.line()


def test_the_former_operator_goes_on_or_says_why_not(
    kube: Kube, former: Build, serving: Callable[[], Plane]
) -> None:
    operator_install.install(kube, values=[PAIR])
    plane = serving()
    plane.ask_for(NEW_VERSION)
    plane.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
    before = plane.templates()

    former.install(kube)

    def decided(item: Object) -> bool:
        return plane.held() or not (item.get("status") or {}).get("upgrade")

    plane.release.wait(decided, what="an end, or a word of why not", deadline_seconds=PATIENCE_SECONDS)
    went_on = not plane.held()
    assert plane.templates() == before
    operator_install.install(kube, values=[PAIR])
    plane.release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
    summary = plane.users.stop()
    assert plane.templates() == before
    assert not summary.faults(), summary.line()
    print(f"the former operator {'went on' if went_on else 'held still'}")


def test_an_operator_that_does_not_know_the_phase_holds_still_until_the_newer_one_is_back(
    kube: Kube, unknowing: Build, serving: Callable[[], Plane]
) -> None:
    operator_install.install(kube, values=[PAIR])
    plane = serving()
    plane.ask_for(NEW_VERSION)
    plane.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
    before, status = plane.templates(), plane.release.status()

    operator_install.install(kube, values=[PAIR, f"image.tag={unknowing.tag}"])
    condition = plane.release.wait_condition("Stalled", reason=HELD, deadline_seconds=PATIENCE_SECONDS)
    assert '"Soaking"' in condition["message"]
    held = plane.release.status()
    # The newer one may have written until it went: its phase, its upgrade and its receipts are all still there.
    assert held.keys() == status.keys()
    assert held["phase"] == "Soaking"
    assert held["upgrade"]["id"] == status["upgrade"]["id"]
    assert held["receipts"]["sequence"] >= status["receipts"]["sequence"]
    assert plane.templates() == before

    operator_install.install(kube, values=[PAIR])
    plane.release.wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
    summary = plane.users.stop()
    assert plane.templates() == before
    assert not summary.faults(), summary.line()
