"""Why a storage commitment request is not taken, or its answer does not arrive. A docstring is the message."""

from typing import ClassVar

from analysis.errors import ReasonedError
from dicom_node.network import status as dimse_status

__all__ = ["ActionRefused", "BadRequest", "NoSuchAction", "NoSuchObject", "ReportFailed", "Unavailable"]


class ActionRefused(ReasonedError):
    """The request is not taken."""

    status: ClassVar[int] = dimse_status.PROCESSING_FAILURE
    """Of the N-ACTION response (PS3.7 annex C)."""


class NoSuchAction(ActionRefused):
    """The action is not the request for storage commitment."""

    status = dimse_status.NO_SUCH_ACTION


class NoSuchObject(ActionRefused):
    """The request is not for the push model's well-known instance."""

    status = dimse_status.NO_SUCH_INSTANCE


class BadRequest(ActionRefused):
    """The request lacks what it needs, or contradicts itself."""

    status = dimse_status.INVALID_ARGUMENT_VALUE


class Unavailable(ActionRefused):
    """The request cannot be written down now."""

    status = dimse_status.RESOURCE_LIMITATION


class ReportFailed(ReasonedError):
    """The answer did not arrive."""

    transient: ClassVar[bool] = True
