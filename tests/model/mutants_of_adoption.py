"""Deliberate bugs of adopting what runs already, and of handing it back."""

from dataclasses import replace

from tests.model import bounds as kinds
from tests.model.bounds import Bounds
from tests.model.mutant import Mutant, never, of

from conductor.api.spec import Component
from conductor.domain import adoption, determine
from conductor.domain.revision import Revision, narrow_selector


def _ours_alone(release: str, component: Component, revision: Revision, _service: str) -> dict[str, str]:
    return narrow_selector(release, component.name, revision.hash)


def _owners_alone(_release: str, _component: Component, revision: Revision, service: str) -> dict[str, str]:
    assert revision.adopted is not None
    return revision.adopted.selectors[service]


_LEGACY = Bounds("mutant", "", legacy=True, installed="", asked="A", wishes=("A", "An"))

OF_ADOPTION: tuple[Mutant, ...] = (
    Mutant(
        "adopts a Service so that it leads to none of its pods",
        1,
        _LEGACY,
        of(adoption, "steady_selector", _ours_alone),
    ),
    Mutant(
        "adopts a Service so that it leads to the candidate as well",
        2,
        _LEGACY,
        of(adoption, "steady_selector", _owners_alone),
    ),
    Mutant(
        "lets an adopted Deployment come back beside what serves",
        5,
        replace(_LEGACY, wishes=("A",), allowed={kinds.DIVERT: 1}, total=1),
        of(determine, "send_away", never),
    ),
    Mutant(
        "lets rollouts of what was adopted go on",
        5,
        replace(_LEGACY, asked="Ap", wishes=("Ap",), allowed={kinds.DIVERT: 1}, total=1),
        of(determine, "hold_still", never),
    ),
    Mutant(
        "keeps what nobody wants adopted any more",
        8,
        replace(_LEGACY, allowed={kinds.SPEC: 1}, total=1),
        of(adoption, "_handing_back", never),
    ),
)
