"""An operator that dies at any write, and many small surprises in random order: the end is the same."""

import copy
import random
from collections.abc import Callable

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.process import OperatorDiedError
from tests.unit.domain.rollouts.under_crashes import REPLAYS, Replay, plane
from tests.unit.domain.story import BAD, BROKEN, GOOD, NAMESPACE, SILENT, SLOW, Story, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ApiError
from conductor.api import names
from conductor.api.receipts import Result
from conductor.api.status import Outcome

#: One of so many writes is tried, each time another moment of it; the real cluster tries all of them.
_EVERY = 3
_NEVER = 10_000


class Death:
    """The operator dies around the write of that number; the next one leads under a new epoch."""

    def __init__(self, number: int, moment: Moment) -> None:
        self.left = number
        self._moment = moment
        self.struck = False

    def __call__(self, moment: Moment, write: Write) -> None:
        if self.struck or moment != self._moment or write.dry_run:
            return
        self.left -= 1
        if self.left < 0:
            self.struck = True
            raise OperatorDiedError(
                f"the operator died {moment} its {write.verb} of {write.kind} {write.name}"
            )


class LostAnswer:
    """The API server takes the next write, and its answer is lost."""

    def __init__(self) -> None:
        self._struck = False

    def __call__(self, moment: Moment, write: Write) -> None:
        if not self._struck and moment == "after" and not write.dry_run:
            self._struck = True
            raise ApiError(0, "NoAnswer", "the answer is lost")


def ends_like(story: Story) -> tuple[object, ...]:
    """What must be the same in the end, however often the operator died."""
    services = [
        (item["metadata"]["name"], item["spec"]["selector"]) for item in story.kube.list("Service", NAMESPACE)
    ]
    jobs = sorted(item["metadata"]["name"] for item in story.kube.list("Job", NAMESPACE))
    last = story.status.last_upgrade
    assert last is not None
    return (
        story.deployments(),
        services,
        jobs,
        story.status.active_revision,
        last.outcome,
        story.status.sequence,
        told(story),
    )


def told(story: Story) -> tuple[object, ...]:
    """What the receipts tell: the same phases in the same order, and each effect done once, whoever made it."""
    chain = story.chain(without_status=True)
    assert chain.proven
    assert not chain.interruptions
    receipts = story.status.receipts
    assert receipts is not None
    assert chain.receipts[-1]["hash"] == receipts.hash, "not everything was kept in the end"
    done = [
        # What was left of a deletion in the middle of which an operator died is another list of objects.
        (receipt["phase"], receipt["effect"], receipt["effect"] == "DeleteObjects" or receipt["subject"])
        for receipt in chain.receipts
        # A new leader claims what an old one may still write to.
        if receipt.get("result") == Result.DONE and receipt["effect"] != "ClaimObjects"
    ]
    phases = [(receipt["before"], receipt["phase"]) for receipt in chain.receipts if "before" in receipt]
    return phases, sorted(done, key=str)


def replayed(replay: Replay, death: Death | None = None) -> Story:
    story = replay(death)
    for _ in range(2):
        story.settled()
    return story


@pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: replay.__name__)
def test_a_crash_at_any_write_comes_to_the_same_end(replay: Replay) -> None:
    plain = Death(_NEVER, "before")
    wanted = ends_like(replayed(replay, plain))
    writes = _NEVER - plain.left
    assert writes > 10
    begun_at = random.Random(replay.__name__).randrange(_EVERY)
    moments: tuple[Moment, ...] = ("before", "after")
    for turn, number in enumerate(range(begun_at, writes, _EVERY)):
        moment = moments[turn % 2]
        assert ends_like(replayed(replay, Death(number, moment))) == wanted, f"died {moment} write {number}"


def _nothing(story: Story) -> None:
    story.turn()


def _new_leader(story: Story) -> None:
    story.epoch += 1


def _kill_a_pod(story: Story) -> None:
    pods = story.kube.list("Pod", NAMESPACE, f"{names.LABEL_COMPONENT}=api")
    standing = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    ready = [
        pod for pod in standing if any(len(story.machinery.selected(s)) > 1 for s in _selecting(story, pod))
    ]
    if ready:
        story.kube.edit(
            "Pod",
            NAMESPACE,
            ready[0]["metadata"]["name"],
            {"metadata": {"deletionTimestamp": story.kube.stamp()}},
        )


def _selecting(story: Story, pod: dict[str, object]) -> list[dict[str, object]]:
    return [item for item in story.kube.list("Service", NAMESPACE) if pod in story.machinery.selected(item)]


def _prometheus_goes(story: Story) -> None:
    story.health = {"1.0.0": BROKEN, "1.1.0": BROKEN, "1.2.0": BROKEN}


def _prometheus_returns(story: Story) -> None:
    story.health = {}


def _turns_bad(story: Story) -> None:
    story.health["1.1.0"] = BAD


def _turns_slow(story: Story) -> None:
    story.health["1.2.0"] = SLOW


def _says_nothing(story: Story) -> None:
    story.health = {"1.1.0": SILENT, "1.2.0": GOOD}


def _pause(story: Story) -> None:
    story.change(paused=not story.release["spec"].get("paused", False))


def _back(story: Story) -> None:
    story.apply(plane("1.0.0"))


def _forward(story: Story) -> None:
    story.apply(plane("1.1.0"))


def _further(story: Story) -> None:
    story.apply(plane("1.2.0"))


def _abort(story: Story) -> None:
    if story.status.upgrade is not None:
        story.annotate(names.ANNOTATION_ABORT, story.status.upgrade.id)


def _rollback(story: Story) -> None:
    if story.status.upgrade is not None:
        story.annotate(names.ANNOTATION_ROLLBACK, story.status.upgrade.id)


def _lost_answer(story: Story) -> None:
    story.kube.fault = LostAnswer()


def _dies(story: Story) -> None:
    story.kube.fault = Death(0, "before")


def _dies_later(story: Story) -> None:
    story.kube.fault = Death(3, "after")


def _long_time(story: Story) -> None:
    story.wait(20)


SURPRISES: tuple[Callable[[Story], None], ...] = (
    _nothing,
    _new_leader,
    _kill_a_pod,
    _prometheus_goes,
    _prometheus_returns,
    _turns_bad,
    _turns_slow,
    _says_nothing,
    _pause,
    _back,
    _forward,
    _further,
    _abort,
    _rollback,
    _lost_answer,
    _dies,
    _dies_later,
    _long_time,
    _long_time,
)


@pytest.mark.parametrize("seed", range(4))
def test_surprises_in_any_order_break_no_invariant_and_the_last_word_is_served(seed: int) -> None:
    """The invariants are checked in every pass; here it is only walked into corners."""
    chance = random.Random(seed)
    story = installed(plane("1.0.0"))
    told = []
    for _ in range(25):
        surprise = chance.choice(SURPRISES)
        told.append(surprise.__name__)
        surprise(story)
        for _ in range(chance.randrange(12)):
            story.turn()

    story.kube.fault = None
    story.health = {}
    story.machinery.behaviours = dict[str, Behaviour]()
    story.apply(plane("2.0.0"))
    story.settled()
    assert story.serving() == {"2.0.0"}, told
    assert story.condition("Ready")[0] == "True"
    story.at_rest()


def test_a_copy_of_a_story_goes_its_own_way() -> None:
    story = installed(plane("1.0.0"))
    other = copy.deepcopy(story)
    other.apply(plane("1.1.0"))
    other.settled()

    assert other.status.last_upgrade is not None
    assert other.status.last_upgrade.outcome is Outcome.SUCCEEDED
    assert story.serving() == {"1.0.0"}
