"""Ramp weights on a plain Service: which pod counts come nearest to a weight without exceeding it."""


def pods_for_weight(weight: int, blue: int, green: int, capacity: int) -> tuple[int, int] | None:
    """How many pods of (losing, gaining) serve so that the gaining share is at most `weight` percent.

    `blue` and `green` are the ready pods of the losing and the gaining colour; at least `capacity`
    pods serve in all. The largest share not above the weight wins, then the most pods. None where
    no share above zero fits: such a step cannot be expressed and is reported, not overshot.
    """
    best: tuple[float, int, int, int] | None = None
    for gaining in range(1, green + 1):
        for losing in range(1, blue + 1):
            total = gaining + losing
            if total < capacity or 100 * gaining > weight * total:
                continue
            candidate = (gaining / total, total, losing, gaining)
            if best is None or candidate > best:
                best = candidate
    return None if best is None else (best[2], best[3])
