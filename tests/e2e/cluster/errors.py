"""The one error that this package raises for what a user can mend."""


class ClusterError(Exception):
    """Something is missing or refused; the text names it, its value and the mend."""
