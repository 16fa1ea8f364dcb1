"""Ramp weights in pod counts: never more than asked for, never less capacity than there was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor.domain.weights import pods_for_weight


@pytest.mark.parametrize(
    ("weight", "blue", "green", "capacity", "pods"),
    [
        (50, 5, 5, 5, (5, 5)),
        (20, 5, 5, 5, (4, 1)),
        (10, 5, 5, 5, None),
        (10, 9, 9, 9, (9, 1)),
        (25, 3, 3, 3, (3, 1)),
        (99, 5, 5, 5, (1, 5)),
        (50, 1, 1, 1, (1, 1)),
        (49, 1, 1, 1, None),
        (50, 0, 3, 0, None),
        (50, 3, 0, 3, None),
    ],
)
def test_known_weights(
    weight: int, blue: int, green: int, capacity: int, pods: tuple[int, int] | None
) -> None:
    assert pods_for_weight(weight, blue, green, capacity) == pods


_counts = st.integers(0, 25)


@given(st.integers(1, 99), _counts, _counts, _counts)
def test_a_share_is_never_above_its_weight_and_nothing_nearer_exists(
    weight: int, blue: int, green: int, capacity: int
) -> None:
    expressible = {
        (losing, gaining): gaining / (losing + gaining)
        for losing in range(1, blue + 1)
        for gaining in range(1, green + 1)
        if losing + gaining >= capacity and 100 * gaining <= weight * (losing + gaining)
    }
    found = pods_for_weight(weight, blue, green, capacity)
    if not expressible:
        assert found is None
        return
    assert found in expressible
    assert expressible[found] == max(expressible.values())


@given(_counts, _counts)
def test_larger_weights_never_give_smaller_shares(blue: int, green: int) -> None:
    shares = []
    for weight in range(1, 100):
        found = pods_for_weight(weight, blue, green, blue)
        shares.append(found[1] / sum(found) if found else 0.0)
    assert shares == sorted(shares)
