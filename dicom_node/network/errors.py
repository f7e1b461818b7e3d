"""Why an instance is not taken, with its C-STORE status, and why a connection ends. A docstring is the message."""

from typing import ClassVar

from analysis.errors import ReasonedError
from dicom_node.network import status as dimse_status

__all__ = [
    "ConnectionEnded",
    "IdentityMismatch",
    "InstanceTooLarge",
    "InvalidPdu",
    "OutOfResources",
    "Overdue",
    "PeerGone",
    "Refused",
    "UnparsableDataset",
]


class _Told(ReasonedError):
    transient: ClassVar[bool] = False


class Refused(_Told):
    """The instance was refused."""

    status: ClassVar[int] = dimse_status.CANNOT_UNDERSTAND


class OutOfResources(Refused):
    """The node cannot take the instance now."""

    status = dimse_status.OUT_OF_RESOURCES
    transient = True


class IdentityMismatch(Refused):
    """The data set's identity is missing or is not what the command and its presentation context say."""

    status = dimse_status.DATA_SET_DOES_NOT_MATCH


class UnparsableDataset(Refused):
    """The data set cannot be parsed to its end."""

    status = dimse_status.UNPARSABLE


class ConnectionEnded(_Told):
    """The connection is over."""

    abort: ClassVar[bytes | None] = None
    """The A-ABORT that the peer gets, if it gets one (PS3.8 section 9.3.8)."""


class PeerGone(ConnectionEnded):
    """The peer closed the connection, or aborted."""


class Overdue(ConnectionEnded):
    """The peer took longer than it may."""

    abort = b"\x07\0\0\0\0\x04\0\0\x02\x00"
    transient = True


class InvalidPdu(ConnectionEnded):
    """The peer sent what the protocol does not allow here."""

    abort = b"\x07\0\0\0\0\x04\0\0\x02\x06"


class InstanceTooLarge(ConnectionEnded):
    """The data set is larger than the node takes."""

    abort = b"\x07\0\0\0\0\x04\0\0\x02\x00"
