"""Two operators share the releases of a namespace: each leads its shards, takes over the other's, and counts change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from conductor.runtime.shards import shard_of
from harness import podinfo
from harness.kube import Kube
from harness.namespaces import namespace
from harness.operator_install import CHART, helm
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from harness.waiting import poll, wait_available

HELM_RELEASE = "sharded"
SELECTOR = f"app.kubernetes.io/name=conductor,app.kubernetes.io/instance={HELM_RELEASE}"
LEASE = "maestro-conductor"
RECORD = "maestro-conductor.io/shards"
OPTIONS = PodinfoOptions(replicas=1, soak="10s", window="10s")
TAKEOVER_SECONDS = 15.0
PATIENCE_SECONDS = 150.0
#: Until two shards each have a release: with so many, one is left empty once in some hundred runs.
MOST_RELEASES = 8

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(600)]


@dataclass
class Sharded:
    """The chart with two replicas, and releases of podinfo under names of their own."""

    kube: Kube
    namespace: str
    releases: list[Release] = field(default_factory=list)

    def install(self, shards: int) -> None:
        settings = (f"namespaces={{{self.namespace}}}", "replicas=2", f"shards={shards}", "crd.install=false")
        flags = [part for value in (*settings, "metrics.service=false") for part in ("--set", value)]
        helm(
            "upgrade", "--install", HELM_RELEASE, str(CHART), "--namespace", self.namespace, *flags, "--wait",
            "--timeout", "120s",
        )  # fmt: skip
        (deployment,) = self.kube.objects("Deployment", self.namespace, labels=SELECTOR)
        wait_available(self.kube, deployment["metadata"]["name"], self.namespace)

    def lease(self, shard: int) -> dict[str, Any]:
        name = f"{LEASE}-{shard}" if shard else LEASE
        found: dict[str, Any] = self.kube.need("Lease", name, self.namespace)
        return found

    def renewals(self) -> dict[str, str]:
        """When each Lease was last renewed, as its holder wrote it."""
        found = self.kube.objects("Lease", self.namespace)
        return {item["metadata"]["name"]: str((item.get("spec") or {}).get("renewTime")) for item in found}

    def holder(self, shard: int) -> str:
        """The pod that leads a shard; its identity is its name and a process id."""
        found = self.kube.get("Lease", f"{LEASE}-{shard}" if shard else LEASE, self.namespace)
        return str(((found or {}).get("spec") or {}).get("holderIdentity") or "").rsplit("_", 1)[0]

    def wait_shared(self, shards: int, *, deadline_seconds: float = 60.0) -> list[str]:
        """Wait until living pods hold all shards, none of them more than one above another."""

        def shared() -> list[str] | None:
            alive = {pod["metadata"]["name"] for pod in self.pods()}
            holders = [self.holder(shard) for shard in range(shards)]
            counts = [holders.count(pod) for pod in alive]
            fair = len(alive) == 2 and set(holders) <= alive and max(counts) - min(counts) <= 1
            return holders if fair else None

        return poll(
            shared, what=f"two replicas to share {shards} shards", deadline_seconds=deadline_seconds,
            last_seen=lambda: [self.holder(shard) for shard in range(shards)],
        )  # fmt: skip

    def pods(self) -> list[dict[str, Any]]:
        found = self.kube.objects("Pod", self.namespace, labels=SELECTOR)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def shard(self, release: Release, shards: int = 2) -> int:
        return shard_of(str(release.read()["metadata"]["uid"]), shards)

    def by_shard(self) -> dict[int, list[Release]]:
        found: dict[int, list[Release]] = {}
        for release in self.releases:
            found.setdefault(self.shard(release), []).append(release)
        return found

    def add_release(self) -> None:
        release = Release(self.kube, self.namespace, f"podinfo-{len(self.releases)}")
        self.releases.append(release)
        self.ask_for(OLD_VERSION, [release])

    def ask_for(self, version: str, releases: Sequence[Release]) -> None:
        for release in releases:
            spec = changed(
                podinfo.release_spec(version, OPTIONS),
                components__0__services__0__name=release.name,
                verification__http__0__service=release.name,
                traffic__switchHealth__missRate=0.05,
            )
            release.apply(spec)

    def wait_under_way(self) -> None:
        for release in self.releases:
            release.wait(
                lambda item: bool((item.get("status") or {}).get("upgrade")),
                what="an upgrade under way", deadline_seconds=30,
            )  # fmt: skip

    def wait_upgraded(self, version: str) -> None:
        for release in self.releases:
            release.wait_upgrade(version, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)

    def epochs(self, releases: Sequence[Release]) -> list[int]:
        return [release.status()["epoch"] for release in releases]


@contextmanager
def installed_in(kube: Kube, name: str) -> Iterator[Sharded]:
    sharded = Sharded(kube, name)
    sharded.install(2)
    try:
        yield sharded
    except BaseException:
        for pod in sharded.pods():
            print(f"--- {pod['metadata']['name']}\n{kube.log(pod['metadata']['name'], name, tail=150)}")
        raise
    finally:
        helm("uninstall", HELM_RELEASE, "--namespace", name, "--ignore-not-found")


@pytest.fixture(scope="module")
def sharded(kube: Kube, no_other_operator: None) -> Iterator[Sharded]:
    with namespace(kube, "shards") as name, installed_in(kube, name) as made:
        made.wait_shared(2)
        while len(made.by_shard()) < 2 or len(made.releases) < 4:
            assert len(made.releases) < MOST_RELEASES, "all releases fell into one shard"
            made.add_release()
        for release in made.releases:
            release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        yield made


def test_each_release_is_led_by_the_holder_of_its_shard(sharded: Sharded) -> None:
    holders = sharded.wait_shared(2)
    assert holders[0] != holders[1]
    second = sharded.lease(1)["spec"]["leaseTransitions"]
    assert sharded.epochs(sharded.by_shard()[1]) == [second] * len(sharded.by_shard()[1])
    assert all(epoch != second for epoch in sharded.epochs(sharded.by_shard()[0]))
    assert json.loads(sharded.lease(0)["metadata"]["annotations"][RECORD])["count"] == 2


def test_when_one_dies_in_mid_upgrade_the_other_takes_its_shard_and_all_go_on(sharded: Sharded) -> None:
    sharded.wait_shared(2)
    survivor, victim = sharded.holder(0), sharded.holder(1)
    undisturbed, orphaned = sharded.by_shard()[0], sharded.by_shard()[1]
    before = sharded.epochs(orphaned)
    sharded.ask_for(NEW_VERSION, sharded.releases)
    sharded.wait_under_way()
    led = sharded.epochs(undisturbed)
    # Without a word: its Lease has to run out.
    sharded.kube.delete("Pod", victim, sharded.namespace, grace_seconds=0)
    poll(
        lambda: True if sharded.holder(1) not in ("", victim) else None,
        what="another holder of shard 1", deadline_seconds=TAKEOVER_SECONDS,
    )  # fmt: skip
    sharded.wait_upgraded(NEW_VERSION)
    assert all(after > former for after, former in zip(sharded.epochs(orphaned), before, strict=True))
    assert sharded.epochs(undisturbed) == led, "what the other one led it led on"
    assert survivor in sharded.wait_shared(2), "the new replica gets its share"


def test_another_number_of_shards_is_taken_up_in_mid_upgrade(sharded: Sharded) -> None:
    sharded.wait_shared(2)
    before = max(sharded.epochs(sharded.releases))
    sharded.ask_for(OLD_VERSION, sharded.releases)
    sharded.wait_under_way()
    sharded.install(3)
    sharded.wait_upgraded(OLD_VERSION)
    sharded.wait_shared(3)
    record = json.loads(sharded.lease(0)["metadata"]["annotations"][RECORD])
    assert (record["count"], record["settled"]) == (3, True)
    assert min(sharded.epochs(sharded.releases)) > before


def test_back_to_one_shard_nothing_is_left_to_say(sharded: Sharded) -> None:
    sharded.install(1)
    poll(
        lambda: None if RECORD in (sharded.lease(0)["metadata"].get("annotations") or {}) else True,
        what="one shard", deadline_seconds=90,
    )  # fmt: skip
    sharded.ask_for(NEW_VERSION, sharded.releases[:1])
    sharded.releases[0].wait_upgrade(NEW_VERSION, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
    # The others' Leases stay as they are: with one shard in the chart nobody has the right to write them.
    before = sharded.renewals()
    after = poll(
        lambda: found if (found := sharded.renewals())[LEASE] != before[LEASE] else None,
        what="the Lease of the only shard renewed", deadline_seconds=30,
    )  # fmt: skip
    assert {name for name in after if after[name] != before.get(name)} == {LEASE}
