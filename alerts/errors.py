"""What can go wrong between findings and a report. A docstring is the error's message."""

from enum import StrEnum
from typing import ClassVar

from analysis.errors import ReasonedError


class AlertsError(ReasonedError):
    """The result could not be turned into an alert or a report."""

    transient: ClassVar[bool] = False


class IllegalTransition(AlertsError):
    """The life cycle has no such step."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        self.state = state
        self.event = event
        super().__init__(f"{type(state).__name__} {state.value!r} does not allow {event.value!r}.")


class UnusableEvidence(AlertsError):
    """The source instances of a report are missing, unreadable or of another series."""


class ReportNotWritten(AlertsError):
    """The report could not be written to disk."""

    transient: ClassVar[bool] = True
