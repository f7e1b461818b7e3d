"""Why a delivery did not arrive. A docstring is the error's message."""

from typing import ClassVar


class DeliveryError(Exception):
    """The delivery did not arrive."""

    transient: ClassVar[bool] = True

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())


class Unreachable(DeliveryError):  # noqa: N818 - errors are named by what happened
    """The destination could not be reached, or broke off."""


class Busy(DeliveryError):  # noqa: N818
    """The destination has no room at the moment."""


class Refused(DeliveryError):  # noqa: N818
    """The destination does not take this object."""

    transient: ClassVar[bool] = False


class Undeliverable(DeliveryError):  # noqa: N818
    """The delivery cannot be made as it stands."""

    transient: ClassVar[bool] = False
