"""What stops the demo, other than a promise that was not kept."""


class DemoError(Exception):
    """A step that could not be done: what went wrong, and the mend."""
