"""What is to be delivered, to whom, and the life of a delivery. The channels themselves live in ``dicom_node``."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from alerts.errors import IllegalTransition

ALONE_AFTER = timedelta(minutes=5)
"""A message waits so long for the objects of its result to be confirmed, lest its link open an empty study; then it
goes without them, and says so."""


class Occasion(StrEnum):
    """Why a destination is told of an alert."""

    FLAGGED = "flagged"
    """It was raised, or opened again."""
    TAKEN_UP = "taken up"
    """A reader has taken the case up."""
    ESCALATED = "escalated"
    """Nobody has looked at it in the time that its category allows; who is told of what is flagged is told again."""
    WITHDRAWN = "withdrawn"
    """It is flagged no longer: who has been told of it is told so, once."""


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryEvent(StrEnum):
    """What can happen to a delivery."""

    START = "start"
    CONFIRM = "confirm"
    RETRY = "retry"
    GIVE_UP = "give_up"
    CANCEL = "cancel"
    REQUEUE = "requeue"


DELIVERY_TRANSITIONS: dict[tuple[DeliveryState, DeliveryEvent], DeliveryState] = {
    # a sender takes it up
    (DeliveryState.PENDING, DeliveryEvent.START): DeliveryState.SENDING,
    # the destination has confirmed receipt
    (DeliveryState.SENDING, DeliveryEvent.CONFIRM): DeliveryState.SENT,
    # a transient failure, or the sender fell silent: try again later
    (DeliveryState.SENDING, DeliveryEvent.RETRY): DeliveryState.PENDING,
    # a permanent failure, or too many attempts: a dead letter
    (DeliveryState.SENDING, DeliveryEvent.GIVE_UP): DeliveryState.FAILED,
    # a newer result replaces what was to be sent, or an administrator withdraws it
    (DeliveryState.PENDING, DeliveryEvent.CANCEL): DeliveryState.CANCELLED,
    (DeliveryState.FAILED, DeliveryEvent.CANCEL): DeliveryState.CANCELLED,
    # an administrator sends a dead letter, or something sent already, again
    (DeliveryState.FAILED, DeliveryEvent.REQUEUE): DeliveryState.PENDING,
    (DeliveryState.SENT, DeliveryEvent.REQUEUE): DeliveryState.PENDING,
}


def next_delivery_state(state: DeliveryState, event: DeliveryEvent) -> DeliveryState:
    """The state a delivery enters when ``event`` happens; ``IllegalTransition`` where there is no arrow."""
    try:
        return DELIVERY_TRANSITIONS[state, event]
    except KeyError as cause:
        raise IllegalTransition(state, event) from cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A file of a result for one destination.

    ``artefact`` is the file's name in the result. ``ValueError`` for a blank destination.
    """

    destination: str
    artefact: str

    def __post_init__(self) -> None:
        if not self.destination.strip():
            raise ValueError("a delivery needs a destination")
