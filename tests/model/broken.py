"""A promise that does not hold, and by what number it goes."""

#: Number of the promise that the design gives none: every state comes to a good end.
LIVENESS = 0


class BrokenPromiseError(Exception):
    """An invariant does not hold; `number` is its number in DESIGN.md, 0 for liveness."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number
        #: The step in which it broke, in words.
        self.told = ""
        #: The steps before it, where they are no part of an exploration.
        self.before: tuple[str, ...] = ()
