"""What goes out, as it travels in and out of the store."""

from dataclasses import dataclass
from datetime import datetime

from alerts.artefact import Artefact
from alerts.delivery import DeliveryState, Occasion

MESSAGE = "message"
"""What lists call a delivery that is no artefact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """One artefact for one destination, or a message to it about an alert: then there is an ``occasion``.

    ``attempt`` counts from 1 once a sender has taken it up.
    """

    id: int
    result_id: int
    series_instance_uid: str
    artefact: Artefact | None
    alert_id: int | None
    occasion: Occasion | None
    destination: str
    state: DeliveryState
    attempt: int
    max_attempts: int
    not_before: datetime
    cause: str | None
    created_at: datetime
    sent_at: datetime | None

    @property
    def what(self) -> str:
        """The kind of the artefact, or that it is a message."""
        return MESSAGE if self.artefact is None else self.artefact.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedDestination:
    """A destination that nothing is sent to for now: since when, by whom, and why if he said so."""

    name: str
    paused_at: datetime
    paused_by: str
    reason: str | None
