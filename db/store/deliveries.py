"""What was to be sent, for who looks at it or steers it by hand."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, select

from alerts.delivery import DeliveryEvent, DeliveryState
from db.actor import Actor
from db.errors import StaleState
from db.outbound import StoredDelivery
from db.rows import DeliveryRow, EventRow, RefusedClassRow
from db.store.conversion import delivery_of, event_of
from db.store.lookup import first_of_states
from db.store.outbox import locked, pointless
from db.store.room import Room
from db.store.transitions import Note, transition
from db.values import StoredEvent

__all__ = ["Deliveries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries(Room):
    """What waits, went out, or could not be sent."""

    def get(self, delivery_id: int) -> StoredDelivery | None:
        """The delivery, if there is one."""
        with self.database.read() as session:
            row = session.get(DeliveryRow, delivery_id)
            return None if row is None else delivery_of(row)

    def list(
        self,
        states: Collection[DeliveryState] | None = None,
        *,
        series: str | None = None,
        destination: str | None = None,
        limit: int | None = None,
    ) -> tuple[StoredDelivery, ...]:
        """Deliveries in these states (none given: in all), the newest first."""
        statement = select(DeliveryRow)
        if destination is not None:
            statement = statement.where(DeliveryRow.destination == destination)
        if series is not None:
            statement = statement.where(DeliveryRow.series_instance_uid == series)
        with self.database.read() as session:
            return tuple(
                delivery_of(row)
                for row in session.scalars(
                    first_of_states(statement, DeliveryRow, states, (DeliveryRow.id.desc(),), limit)
                )
            )

    def history(self, delivery_id: int) -> tuple[StoredEvent, ...]:
        """What happened to the delivery, attempt by attempt, with what was answered or why it failed."""
        events = select(EventRow).where(EventRow.subject_kind == "delivery", EventRow.subject_id == str(delivery_id))
        with self.database.read() as session:
            return tuple(event_of(row) for row in session.scalars(events.order_by(EventRow.id)))

    def confirmed(self, result_id: int) -> bool | None:
        """Whether every object of the result has been confirmed; None where none is to be sent."""
        objects = select(DeliveryRow.state).where(
            DeliveryRow.result_id == result_id, DeliveryRow.artefact_id.is_not(None)
        )
        with self.database.read() as session:
            states = set(session.scalars(objects)) - {DeliveryState.CANCELLED.value}
        return states == {DeliveryState.SENT.value} if states else None

    def count(self, destination: str, state: DeliveryState) -> int:
        """How many deliveries for the destination are in this state."""
        counted = select(func.count()).where(DeliveryRow.state == state, DeliveryRow.destination == destination)
        with self.database.read() as session:
            return session.scalar(counted) or 0

    def retry(self, delivery_id: int, who: str) -> StoredDelivery:
        """Send a dead letter, or what was sent already, with attempts anew; what its destination refused is offered.

        Raises:
            StaleState: it waits or is under way, its result was replaced, its alert is over, or there is none.
        """
        now = self.clock()
        with self.database.write() as session:
            row = locked(session, delivery_id)
            if why := pointless(session, row):
                raise StaleState(f"Delivery {delivery_id} is of no use any more: {why}.")
            note = Note(at=now, actor=Actor.user(who))
            anew = {"attempt": 0, "not_before": now, "cause": None, "sent_at": None, "sent_as": None}
            transition(session, row, DeliveryEvent.REQUEUE, note, **anew)
            session.execute(delete(RefusedClassRow).where(RefusedClassRow.destination == row.destination))
            return delivery_of(row)

    def cancel(self, delivery_id: int, who: str) -> StoredDelivery:
        """Send no more of what waits, or set a dead letter aside.

        Raises:
            StaleState: it is under way or over, or there is none.
        """
        now = self.clock()
        with self.database.write() as session:
            row = locked(session, delivery_id)
            transition(session, row, DeliveryEvent.CANCEL, Note(at=now, actor=Actor.user(who)))
            return delivery_of(row)
