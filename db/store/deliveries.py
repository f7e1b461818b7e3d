"""What is to be sent, one at a time under a lease, and what came of it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from alerts.delivery import DeliveryEvent, DeliveryState
from db.errors import StaleState
from db.rows import DeliveryRow, ResultRow
from db.store.conversion import delivery_of
from db.store.room import Room
from db.store.transitions import Note, transition
from db.values import StoredDelivery

__all__ = ["Deliveries"]

LEASE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries(Room):
    """The outbox."""

    def due(self, now: datetime) -> Iterator[StoredDelivery]:
        """Take up, one by one as they are asked for, the deliveries that are due; each is SENDING for its lease.

        One whose sender fell silent is due again once its lease has passed, up to its cap of attempts. What a newer
        result has replaced while it was on its way is not tried again.
        """
        while (delivery := self._take(now)) is not None:
            yield delivery

    def _take(self, now: datetime) -> StoredDelivery | None:
        due = or_(
            (DeliveryRow.state == DeliveryState.PENDING) & (DeliveryRow.not_before <= now),
            (DeliveryRow.state == DeliveryState.SENDING) & (DeliveryRow.lease_expires_at < now),
        )
        statement = select(DeliveryRow).where(due).order_by(DeliveryRow.not_before, DeliveryRow.id).limit(1)
        with self.database.read() as session:
            if session.scalar(statement) is None:
                return None
        with self.database.write() as session:
            while (row := session.scalar(statement.with_for_update(skip_locked=True))) is not None:
                if row.state == DeliveryState.SENDING:
                    _end_attempt(session, row, "the sender fell silent", transient=True, at=now, delay_s=0.0)
                    continue
                if _superseded(session, row):
                    transition(session, row, DeliveryEvent.CANCEL, Note(at=now, detail="a newer result replaced it"))
                    continue
                attempt = row.attempt + 1
                transition(
                    session, row, DeliveryEvent.START, Note(at=now), attempt=attempt, lease_expires_at=now + LEASE
                )
                return delivery_of(row)
        return None

    def sent(self, delivery_id: int) -> StoredDelivery:
        """The destination confirmed receipt.

        Raises:
            StaleState: it is not being sent.
        """
        now = self.clock()
        with self.database.write() as session:
            row = _locked(session, delivery_id)
            transition(
                session, row, DeliveryEvent.CONFIRM, Note(at=now), sent_at=now, lease_expires_at=None, cause=None
            )
            return delivery_of(row)

    def failed(self, delivery_id: int, cause: str, *, transient: bool, retry_delay_s: float = 0.0) -> StoredDelivery:
        """A transient failure waits ``retry_delay_s`` and is tried again, up to the cap; else a dead letter.

        Raises:
            StaleState: it is not being sent.
        """
        with self.database.write() as session:
            row = _locked(session, delivery_id)
            _end_attempt(session, row, cause, transient=transient, at=self.clock(), delay_s=retry_delay_s)
            return delivery_of(row)

    def list(
        self, states: Collection[DeliveryState] | None = None, *, series: str | None = None, limit: int | None = None
    ) -> tuple[StoredDelivery, ...]:
        """Deliveries in these states (none given: in all), the newest first."""
        statement = select(DeliveryRow).order_by(DeliveryRow.id.desc()).limit(limit)
        if states:
            statement = statement.where(DeliveryRow.state.in_(sorted(states)))
        if series is not None:
            statement = statement.where(DeliveryRow.series_instance_uid == series)
        with self.database.read() as session:
            return tuple(delivery_of(row) for row in session.scalars(statement))


def _locked(session: Session, delivery_id: int) -> DeliveryRow:
    row = session.scalar(select(DeliveryRow).where(DeliveryRow.id == delivery_id).with_for_update())
    if row is None:
        raise StaleState(f"There is no delivery {delivery_id}.")
    return row


def _superseded(session: Session, row: DeliveryRow) -> bool:
    """Whether the result that the delivery carries is in force no more."""
    retired = select(ResultRow.superseded_at).where(ResultRow.id == row.result_id)
    return session.scalar(retired) is not None


def _end_attempt(
    session: Session, row: DeliveryRow, cause: str, *, transient: bool, at: datetime, delay_s: float
) -> None:
    again = transient and row.attempt < row.max_attempts
    event = DeliveryEvent.RETRY if again else DeliveryEvent.GIVE_UP
    not_before = at + timedelta(seconds=delay_s)
    note = Note(at=at, detail=cause)
    transition(session, row, event, note, cause=cause, not_before=not_before, lease_expires_at=None)
