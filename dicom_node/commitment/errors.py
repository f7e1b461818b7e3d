"""Why a storage commitment request is not taken, or its answer does not arrive. A docstring is the message."""

from typing import ClassVar

from analysis.errors import ReasonedError

__all__ = ["ActionRefused", "BadRequest", "NoSuchAction", "NoSuchObject", "ReportFailed", "Unavailable"]


class ActionRefused(ReasonedError):
    """The request is not taken."""

    status: ClassVar[int] = 0x0110
    """Of the N-ACTION response (PS3.7 annex C)."""


class NoSuchAction(ActionRefused):
    """The action is not the request for storage commitment."""

    status = 0x0123


class NoSuchObject(ActionRefused):
    """The request is not for the push model's well-known instance."""

    status = 0x0112


class BadRequest(ActionRefused):
    """The request lacks what it needs, or contradicts itself."""

    status = 0x0115


class Unavailable(ActionRefused):
    """The request cannot be written down now."""

    status = 0x0213


class ReportFailed(ReasonedError):
    """The answer did not arrive."""

    transient: ClassVar[bool] = True
