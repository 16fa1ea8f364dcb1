"""What `status` says of a preview and of Gateways, held against a cluster in memory after each pass."""

from collections.abc import Callable

import pytest
from tests.unit.domain.plane import by_route
from tests.unit.domain.rollouts.by_route import STEPS, behind_a_route, previewed, reapplied
from tests.unit.domain.rollouts.planes import approve
from tests.unit.domain.story import BAD, NAME, NAMESPACE, Story
from tests.unit.domain.test_gateway_proof import EDGE, TARGET, telling
from tests.unit.domain.test_preview_stories import COOKIE, HEADER, previewing

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.cli.render import release_lines
from conductor.cli.style import Style
from conductor.cli.view import read_release

from .conftest import NOW

pytestmark = pytest.mark.story

HEADER_SAID, COOKIE_SAID = "header X-Preview: candidate; ", "cookie preview=candidate; "
SENT = {HEADER_SAID: {"X_Preview": "candidate"}, COOKIE_SAID: {"Cookie": "preview=candidate"}}
ON = "on the routes, leads to 1.1.0"
BEFORE, BEING = "not on the routes before Verifying", "being put on the routes"
ENDED, BACK = "taken off the routes with the switch", "is taken off the routes with the way back"


def field(story: Story, label: str) -> str:
    """As `status` shows it on a wide terminal; empty where it is not shown."""
    release = story.kube.get(names.KIND, NAMESPACE, NAME)
    assert release is not None
    lines = release_lines(read_release(release), NOW, Style(width=1000))
    return "".join(line.removeprefix(label).strip() for line in lines if line.startswith(label))


def told(story: Story) -> str:
    """The preview, without its mark."""
    return field(story, "Preview")[2:]


class Reader:
    """Looks after each pass; `said` holds what changed."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.said: list[str] = []

    def until(self, goal: Phase | Reason | Callable[[], bool]) -> None:
        def looked() -> bool:
            self.look()
            return goal() if callable(goal) else goal in (self.story.status.phase, self.story.status.reason)

        self.story.until(looked)

    def look(self) -> None:
        said = told(self.story)
        if not self.said or self.said[-1] != said:
            self.said.append(said)
        for asked_by, sent in SENT.items():
            if said.startswith(asked_by) and not said.endswith((BEING, BACK)):
                reached = previewed(self.story, **sent)
                assert (reached == {"1.1.0": 100}) is (said == asked_by + ON) or self.everybody_is(reached), (
                    said
                )

    def everybody_is(self, reached: dict[str, int]) -> bool:
        """Who asks for the candidate comes where everybody does: there are no rules for it."""
        return reached == previewed(self.story)


def upgrading() -> Reader:
    story = behind_a_route()
    story.apply(previewing("1.1.0"))
    return Reader(story)


def at_rest(story: Story) -> Callable[[], bool]:
    return lambda: story.status.upgrade is None


def test_from_the_start_of_an_upgrade_to_its_end() -> None:
    reader = upgrading()
    reader.until(Reason.AWAITING_APPROVAL)
    approve(reader.story, reader.story.upgrade.id, "switch")
    reader.until(at_rest(reader.story))
    assert [said.removeprefix(HEADER_SAID) for said in reader.said if said] == [
        BEFORE,
        "not on the routes yet",
        BEING,
        ON,
        ENDED,
    ]


@pytest.mark.parametrize("ramping", [False, True])
def test_taken_back(ramping: bool) -> None:
    reader = upgrading()
    reader.until(Reason.AWAITING_APPROVAL)
    if ramping:
        approve(reader.story, reader.story.upgrade.id, "switch")
        reader.until(Phase.RAMPING)
    reader.story.health["1.1.0"] = BAD
    reader.until(at_rest(reader.story))
    assert [said.removeprefix(HEADER_SAID) for said in reader.said if said][-2:] == [ON, BACK]


def test_taken_out_of_the_spec_and_asked_for_by_something_else() -> None:
    reader = upgrading()
    reader.until(Reason.AWAITING_APPROVAL)
    reader.story.change(traffic=by_route(ramp=STEPS))
    reader.until(lambda: reader.said[-1] == "")
    assert previewed(reader.story, X_Preview="candidate") == {"1.0.0": 100}
    reader.story.change(traffic=by_route(ramp=STEPS, preview=COOKIE))
    reader.until(lambda: reader.said[-1] == COOKIE_SAID + ON)
    reader.story.change(traffic=by_route(ramp=STEPS, preview=HEADER))
    reader.until(lambda: reader.said[-1] == HEADER_SAID + ON)


def test_put_back_twice_then_left_out_for_good_and_why() -> None:
    reader = upgrading()
    reader.until(Reason.AWAITING_APPROVAL)
    for _ in range(2):
        reapplied(reader.story)
        reader.story.turn()
        reader.until(lambda: reader.said[-1] == HEADER_SAID + ON)
    reapplied(reader.story)
    reader.story.turn()
    why = "left out (PreviewLeftOut): rules for it were written to its route 3 times and did not stay there; leave "
    reader.until(lambda: reader.said[-1].startswith(HEADER_SAID + why))
    left_out = reader.said[-1]
    approve(reader.story, reader.story.upgrade.id, "switch")
    reader.until(Phase.CLOSING)
    assert reader.said[-1] == left_out
    reader.until(at_rest(reader.story))
    assert reader.said[-1] == ""


def test_a_gateway_that_does_not_know_it_is_why_and_another_mark_is_offered() -> None:
    story = behind_a_route()
    story.machinery.gateway_refuses_headers = "UnsupportedValue"
    story.apply(previewing("1.1.0", COOKIE))
    story.until(Reason.AWAITING_APPROVAL)
    assert story.upgrade.preview_gap.startswith(
        "Gateway edge does not take in HTTPRoute mc with them (Unsupp"
    )
    assert told(story) == f"{COOKIE_SAID}left out (PreviewLeftOut): {story.upgrade.preview_gap}"
    story.machinery.gateway_refuses_headers = ""
    story.change(traffic=by_route(ramp=STEPS, preview=HEADER))
    story.until(lambda: told(story) == HEADER_SAID + ON)
    assert story.upgrade.preview_gap == ""


@pytest.mark.parametrize("reached", [True, False])
def test_gateways_are_named_once_it_is_known_which_are_asked(reached: bool) -> None:
    story = behind_a_route()
    story.gateways[EDGE] = reached
    story.apply(telling("1.1.0", soak="30s"))
    story.until(Phase.VERIFYING)
    assert field(story, "Gateways") == ""
    known = (
        f"asked after the switch: {TARGET}"
        if reached
        else "none is asked, what they say of the routes counts alone"
    )
    for phase in (Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING):
        story.until(phase)
        assert field(story, "Gateways") == known
    story.settled()
    assert field(story, "Gateways") == ""
