"""What can go wrong between findings and a report. A docstring is the error's message."""

from enum import StrEnum
from typing import ClassVar


class AlertsError(Exception):
    """The result could not be turned into an alert or a report."""

    transient: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        claim = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{claim} {detail}".strip())


class IllegalTransition(AlertsError):  # noqa: N818 - errors are named by what happened
    """The life cycle has no such step."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        self.state = state
        self.event = event
        super().__init__(f"{type(state).__name__} {state.value!r} does not allow {event.value!r}.")


class UnusableEvidence(AlertsError):  # noqa: N818
    """The source instances of a report are missing, unreadable or of another series."""


class ReportNotWritten(AlertsError):  # noqa: N818
    """The report could not be written to disk."""

    transient: ClassVar[bool] = True
