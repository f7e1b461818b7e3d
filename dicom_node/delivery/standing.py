"""How each destination of the settings stands, for whoever looks: a command, or a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.delivery import DeliveryState
from db import PausedDestination, RefusedClass, Store
from dicom_node.delivery.pace import HOUR, pace_of
from dicom_node.settings import Destination, MessageDestination

__all__ = ["Standing", "standings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What waits for a destination or is under way, what it could not be given, whether it is paused, what it refuses.

    ``held`` says why messages wait for now: quiet hours, or a pace that is spent.
    """

    destination: Destination
    waiting: int
    dead_letters: int
    paused: PausedDestination | None
    held: str | None
    refuses: tuple[RefusedClass, ...]


def standings(store: Store, destinations: Sequence[Destination]) -> list[Standing]:
    """One for each, in their order."""
    now = datetime.now(UTC)
    paused = {one.name: one for one in store.destinations.paused()}

    def count(name: str, *states: DeliveryState) -> int:
        return sum(store.deliveries.count(name, state) for state in states)

    return [
        Standing(
            destination=one,
            waiting=count(one.name, DeliveryState.PENDING, DeliveryState.SENDING),
            dead_letters=count(one.name, DeliveryState.FAILED),
            paused=paused.get(one.name),
            held=_held(store, one, now),
            refuses=store.destinations.refused(one.name),
        )
        for one in destinations
    ]


def _held(store: Store, destination: Destination, now: datetime) -> str | None:
    if not isinstance(destination, MessageDestination):
        return None
    pace = pace_of(destination)
    return pace.held_because(store.outbox.told_since(destination.name, now - HOUR, pace.most_per_hour), now)
