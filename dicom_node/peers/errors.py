"""Why another application entity could not be asked, or gave nothing. A docstring is the error's message."""

from analysis.errors import ReasonedError

__all__ = ["PeerError", "Refused", "Unreachable"]


class PeerError(ReasonedError):
    """The peer gave nothing."""


class Unreachable(PeerError):
    """The peer cannot be reached, or broke off."""

    transient = True


class Refused(PeerError):
    """The peer refuses what it was asked."""
