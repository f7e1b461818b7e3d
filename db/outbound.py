"""What goes out, as it travels in and out of the store."""

from dataclasses import dataclass
from datetime import datetime

from pydicom.uid import UID

from alerts.artefact import Artefact, Reference
from alerts.delivery import DeliveryState, Occasion

MESSAGE = "message"
"""What lists call a delivery that is no artefact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """One artefact for one destination, or a message to it about an alert: then there is an ``occasion``.

    ``attempt`` counts from 1 once a sender has taken it up. ``sent_as``: the object that went in place of the artefact.
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
    sent_as: Reference | None = None

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedClass:
    """A SOP class that a destination refused, when, and in what words."""

    destination: str
    sop_class_uid: str
    refused_at: datetime
    answer: str

    @property
    def name(self) -> str:
        """What the Standard calls it."""
        return UID(self.sop_class_uid).name
