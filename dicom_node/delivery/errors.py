"""Why a delivery did not arrive. A docstring is the error's message."""

from typing import ClassVar

from analysis.errors import ReasonedError


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
