"""Why a delivery did not arrive. A docstring is the error's message."""

from typing import ClassVar

from analysis.errors import ReasonedError
from dicom_node.network.status import (
    DUPLICATE_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
)

_OUT_OF_RESOURCES = range(OUT_OF_RESOURCES, OUT_OF_RESOURCES + 0x100)  # PS3.4 table B.2-1: 0xA7xx


class DeliveryError(ReasonedError):
    """The delivery did not arrive."""

    transient: ClassVar[bool] = True


class Unreachable(DeliveryError):
    """The destination could not be reached, or broke off."""


class NotAdmitted(Unreachable):
    """The destination does not let the node in."""


class Busy(DeliveryError):
    """The destination has no room at the moment."""


class ProcessingFailure(DeliveryError):
    """The destination failed at it."""


class Refused(DeliveryError):
    """The destination does not take this object."""

    transient: ClassVar[bool] = False


class NotTaken(Refused):
    """The destination takes no objects of this SOP class."""


class Undeliverable(DeliveryError):
    """The delivery cannot be made as it stands."""

    transient: ClassVar[bool] = False


def failure_of(status: int) -> type[DeliveryError] | None:
    """What a failing status of a C-STORE means (PS3.4 table B.2-1, PS3.7 annex C); None: the object is there."""
    if status == DUPLICATE_SOP_INSTANCE:
        return None
    if status in _OUT_OF_RESOURCES:
        return Busy
    if status == PROCESSING_FAILURE:  # of the moment, as far as anyone can tell
        return ProcessingFailure
    return NotTaken if status == SOP_CLASS_NOT_SUPPORTED else Refused
