"""Why a scanner could not talk to the node, in words that say what to do."""

from typing import ClassVar


class SimulatorError(Exception):
    """The simulated scanner could not do what it was asked to."""

    transient: ClassVar[bool] = False


class PeerUnreachableError(SimulatorError):
    """Nothing answers at that address and port."""

    transient: ClassVar[bool] = True


class AssociationRejectedError(SimulatorError):
    """The peer answered and did not want the association."""


class AssociationAbortedError(SimulatorError):
    """The peer ended the association in mid-way."""

    transient: ClassVar[bool] = True


class NothingToSendError(SimulatorError):
    """None of the files is a DICOM file."""
