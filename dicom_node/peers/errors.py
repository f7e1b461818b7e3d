"""Why another application entity could not be asked, or gave nothing. A docstring is the error's message."""

from analysis.errors import ReasonedError

__all__ = [
    "NoContext",
    "NothingToSend",
    "PeerError",
    "Refused",
    "Rejected",
    "UnknownAddress",
    "Unreachable",
    "UnusableTls",
]


class PeerError(ReasonedError):
    """The peer gave nothing."""


class Unreachable(PeerError):
    """The peer cannot be reached, or broke off."""

    transient = True


class Refused(PeerError):
    """The peer refuses what it was asked."""


class NoContext(Refused):
    """The peer accepts no presentation context (SOP class and transfer syntax) that it was offered."""


class Rejected(Refused):
    """The peer rejected the association."""

    transient = True  # its administrator may let the node in at any moment


class UnknownAddress(PeerError):
    """It is not known where the peer listens."""

    transient = True  # it may be allowed with its host and port at any moment


class UnusableTls(PeerError):
    """The peer is to be called by TLS, and the certificates cannot be used."""

    transient = True  # changed files are taken up at once


class NothingToSend(PeerError):
    """There is no DICOM file (PS3.10) to send."""
