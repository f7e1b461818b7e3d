"""Deliveries: the outbox that a sender empties."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select

from alerts.delivery import DeliveryEvent, DeliveryState
from db.engine import Database
from db.errors import StaleState
from db.rows import DeliveryRow
from db.store.records import all_of, delivery_of
from db.store.transitions import Note, transition
from db.values import StoredDelivery

SENDING_LEASE_S = 300.0
"""A sender that is silent for so long is gone; its delivery is tried again."""
_BATCH = 50
_SENDER = "sender"


class Deliveries:
    """What is to be sent, and what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, now: datetime) -> tuple[StoredDelivery, ...]:
        """Deliveries that are due, now being sent by who asked; each is his for ``SENDING_LEASE_S`` seconds."""
        waiting = (DeliveryRow.state == DeliveryState.PENDING.value) & (DeliveryRow.not_before <= now)
        abandoned = (DeliveryRow.state == DeliveryState.SENDING.value) & (DeliveryRow.lease_expires_at < now)
        statement = (
            select(DeliveryRow)
            .where(or_(waiting, abandoned))
            .order_by(DeliveryRow.not_before, DeliveryRow.id)
            .limit(_BATCH)
        )
        if self._database.is_sqlite:
            with self._database.read() as session:
                if session.scalar(statement) is None:
                    return ()  # no write lock is taken merely to look
        with self._database.write() as session:
            rows = session.scalars(statement.with_for_update(skip_locked=True)).all()
            note = Note(at=now, actor=_SENDER)
            for row in rows:
                if row.state == DeliveryState.SENDING.value:
                    transition(session, row, DeliveryEvent.RETRY, note, cause="the sender fell silent")
                transition(
                    session,
                    row,
                    DeliveryEvent.START,
                    note,
                    attempt=row.attempt + 1,
                    lease_expires_at=now + timedelta(seconds=SENDING_LEASE_S),
                )
            return all_of(rows, delivery_of)

    def sent(self, delivery_id: int) -> StoredDelivery:
        """The destination has confirmed receipt.

        Raises:
            StaleState: it was not being sent.
        """
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = session.get(DeliveryRow, delivery_id)
            if row is None:
                raise StaleState(f"There is no delivery {delivery_id}.")
            note = Note(at=now, actor=_SENDER)
            transition(session, row, DeliveryEvent.CONFIRM, note, sent_at=now, lease_expires_at=None, cause=None)
            return delivery_of(row)

    def failed(self, delivery_id: int, cause: str, *, transient: bool, retry_delay_s: float) -> StoredDelivery:
        """It could not be sent: again later if transient and attempts are left, else a dead letter.

        Raises:
            StaleState: it was not being sent.
        """
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = session.get(DeliveryRow, delivery_id)
            if row is None:
                raise StaleState(f"There is no delivery {delivery_id}.")
            note = Note(at=now, actor=_SENDER, detail=cause)
            if transient and row.attempt < row.max_attempts:
                later = now + timedelta(seconds=retry_delay_s)
                transition(
                    session, row, DeliveryEvent.RETRY, note, cause=cause, not_before=later, lease_expires_at=None
                )
            else:
                transition(session, row, DeliveryEvent.GIVE_UP, note, cause=cause, lease_expires_at=None)
            return delivery_of(row)

    def list(self, states: Collection[DeliveryState] | None = None) -> tuple[StoredDelivery, ...]:
        """Deliveries in these states (None: in any), the newest first."""
        statement = select(DeliveryRow).order_by(DeliveryRow.id.desc())
        if states is not None:
            statement = statement.where(DeliveryRow.state.in_([state.value for state in states]))
        with self._database.read() as session:
            return all_of(session.scalars(statement), delivery_of)
