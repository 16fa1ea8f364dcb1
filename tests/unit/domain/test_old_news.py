"""Upgrades decided on watches that lag: what they show late may cost a pass, and never more.

Each kind of object lags by a different number of passes, so that what a glance shows was never true at once. The
invariants are checked on every pass, as in every story.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.plane import (
    Json,
    api_component,
    gateway_component,
    migrations,
    spec,
    worker_component,
)
from tests.unit.domain.story import BAD, NAME, NAMESPACE, Story, installed
from tests.unit.domain.surroundings import Inline

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.determine import determine
from conductor.domain.plan import Plan, plan
from conductor.domain.situation import Situation
from conductor.domain.snapshot import Snapshot
from conductor.domain.trust import may_stand
from conductor.observe.cache import Cache
from conductor.observe.gather import gather, glance, list_objects, note_of
from conductor.observe.held import KINDS
from conductor.observe.parsed import Parsed
from conductor.runtime.sight import Sight

KEY = (NAMESPACE, NAME)
_World = dict[str, dict[tuple[str, str], Object]]


class Watched(Story):
    """A story whose passes look at the watches first; `lags` tells by kind how many passes they are behind."""

    def __init__(self, story: Story, lags: dict[str, int]) -> None:
        self.__dict__.update(story.__dict__)
        self._lags = lags
        self._history: list[_World] = []
        parsed = Parsed()
        self.cache = Cache(lambda _: None, parsed)
        self.sight = Sight(self.kube, Inline(), self.cache, parsed, self._seconds)
        self.glances = self.reads = self.conflicts = 0

    def _seconds(self) -> float:
        return self.now.timestamp()

    def show(self) -> None:
        """The watches show what was true some passes ago, each kind its own number of them."""
        kinds = (*KINDS, names.KIND)
        self._history.append({kind: self._stored(kind) for kind in kinds})
        for kind in kinds:
            lag = min(self._lags.get(kind, 0), len(self._history) - 1)
            shown = self._history[-1 - lag][kind]
            if kind == names.KIND:
                for release in shown.values():
                    self.cache.put_release(release)
                continue
            for obj in shown.values():
                self.cache.put(kind, obj)
            self.cache.retain(kind, NAMESPACE, set(shown))

    def _stored(self, kind: str) -> dict[tuple[str, str], Object]:
        items = self.kube.list(kind, NAMESPACE)
        if kind != names.KIND:
            items = [item for item in items if names.LABEL_RELEASE in (item["metadata"].get("labels") or {})]
        return {(NAMESPACE, item["metadata"]["name"]): item for item in items}

    def observe(self) -> Snapshot:
        self.show()
        settings: dict[str, Any] = {
            "samples": self._samples(),
            "epoch": self.epoch,
            "now": self.now,
            "new_upgrades": self.new_upgrades,
        }
        stands: list[bool] = []

        def judged(s: Snapshot, situation: Situation) -> bool:
            stands.append(may_stand(s, situation))
            return stands[-1]

        seen = self.sight.look(KEY, determine, judged, **settings)
        assert seen is not None
        if True not in stands:
            self.reads += 1
            return seen.snapshot
        self.glances += 1
        old = seen.snapshot.resource_version != self.release["metadata"]["resourceVersion"]
        if old and plan(seen.snapshot, seen.decision).status != seen.snapshot.status:
            # The status write is valid only against the version that was decided on.
            self.conflicts += 1
            self.sight.doubt(KEY)
            again = self.sight.look(KEY, determine, may_stand, **settings)
            assert again is not None
            return again.snapshot
        return seen.snapshot

    def turn(self) -> Plan | None:
        before = self.release
        decided = super().turn()
        if decided is not None and decided.effect is not None:
            self.sight.doubt(KEY)
        if self.release != before:
            self.sight.wrote(self.release)
        return decided


def lags(seed: int) -> dict[str, int]:
    chosen = random.Random(seed)
    return {kind: chosen.randrange(6) for kind in (*KINDS, names.KIND)}


def upgraded(story: Watched) -> None:
    story.apply(spec("1.1.0"))
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.SUCCEEDED


def ramped_with_workers(story: Watched) -> None:
    ramp = [{"weight": 50, "hold": "2s"}]
    components = [api_component("1.1.0", 4), worker_component("1.1.0"), gateway_component("1.1.0")]
    story.apply(spec("1.1.0", components=components, traffic=spec()["traffic"] | {"ramp": ramp}))
    story.settled()
    assert story.serving() == story.serving("mc-gateway") == {"1.1.0"}


def migrated(story: Watched) -> None:
    story.apply(spec("1.1.0", migrations=migrations("1.1.0")))
    story.until(Phase.SOAKING)
    # 1.0.0 was installed without login roles, so that contract is a person's word.
    story.annotate(names.ANNOTATION_APPROVE, f"{story.upgrade.id}/contract")
    story.settled()
    assert story.status.phase is Phase.STABLE
    jobs = [write.name for write in story.kube.writes if write.verb == "create" and write.kind == "Job"]
    assert len(jobs) == len(set(jobs)) == 3, f"each step once: {jobs}"


def rolled_back(story: Watched) -> None:
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Phase.SOAKING).wait(3)
    story.health["1.1.0"] = BAD
    story.settled()
    assert story.serving() == {"1.0.0"}
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK


def superseded(story: Watched) -> None:
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP)
    story.apply(spec("1.2.0"))
    story.settled()
    assert story.serving() == {"1.2.0"}


def repaired(story: Watched) -> None:
    story.kube.drop("Service", NAMESPACE, "mc-api")
    deployment = story.kube.list("Deployment", NAMESPACE)[0]["metadata"]["name"]
    story.kube.drop("Deployment", NAMESPACE, deployment)
    story.wait(10)
    story.settled()
    assert story.serving() == {"1.0.0"}


STORIES = (upgraded, ramped_with_workers, migrated, rolled_back, superseded, repaired)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tell", STORIES)
def test_a_story_ends_as_it_should_however_late_the_watches_are(
    tell: Callable[[Watched], None], seed: int
) -> None:
    workers = tell is ramped_with_workers
    begin = (
        spec(components=[api_component("1.0.0", 4), worker_component("1.0.0"), gateway_component("1.0.0")])
        if workers
        else spec()
    )
    story = Watched(installed(begin), lags(seed))
    tell(story)
    # Once the watches have caught up, the release rests and is read for its resyncs alone.
    for _ in range(8):
        story.turn()
    reads = story.reads
    story.at_rest()
    assert story.reads <= reads + 3, "ten minutes of rest are two or three resyncs"
    assert story.glances > 0


def test_without_lag_a_glance_shows_what_a_read_would_show() -> None:
    story = Watched(installed(spec()), {})
    story.apply(spec("1.1.0", migrations=migrations("1.1.0"), soak="20s"))
    parsed = Parsed()
    compared = 0
    while story.status.last_upgrade is None or story.status.last_upgrade.to != "1.1.0":
        story.turn()
        if story.status.phase in (Phase.PREFLIGHT, Phase.BOOTSTRAPPING):
            continue
        story.show()
        settings: dict[str, Any] = {
            "samples": story._samples(),
            "epoch": 1,
            "now": story.now,
            "new_upgrades": True,
        }
        listed = list_objects(story.kube, Inline(), NAMESPACE, NAME)
        fresh = gather(story.kube, Inline(), story.release, listed, parsed=parsed, **settings)
        story.cache.note_traffic(KEY, note_of(fresh))
        seen = glance(story.cache, story.release, parsed=parsed, **settings)
        assert seen is not None
        assert dict(seen.revisions) == dict(fresh.revisions)
        assert replace(seen, revisions={}) == replace(fresh, revisions={})
        compared += 1
    assert compared > 20


def test_an_upgrade_is_decided_by_glances_where_nothing_is_to_be_done() -> None:
    story = Watched(installed(spec()), {})
    story.apply(spec("1.1.0", soak="60s"))
    story.settled()
    assert story.glances > story.reads
    assert story.conflicts == 0


def test_a_new_leader_reads_before_it_says_that_it_leads() -> None:
    story = Watched(installed(spec()), {})
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Phase.SOAKING).wait(5)
    story.epoch = 2
    reads = story.reads
    story.turn()
    assert story.reads == reads + 1
    assert story.status.reason == Reason.CLAIMING_EPOCH


def test_images_are_pulled_although_no_watch_shows_the_nodes() -> None:
    asked: Json = {"surge": {"prePull": {"image": "localhost/drain:dev"}}}
    story = Watched(installed(spec(**asked)), lags(1))
    story.apply(spec("1.1.0", **asked))
    story.settled()
    jobs = [item.subject for item in story.effects if item.subject.startswith("Job/")]
    assert len(jobs) == 2, f"made and removed again: {jobs}"
    assert story.serving() == {"1.1.0"}
    assert story.glances > 0
