"""What is to be sent, one at a time under a lease, and what came of each attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Select, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from alerts.alert import UNDECIDED, AlertState, Category
from alerts.artefact import ArtefactKind, Reference
from alerts.delivery import ALONE_AFTER, DeliveryEvent, DeliveryState, Occasion
from db.actor import Actor
from db.errors import StaleState
from db.outbound import StoredDelivery
from db.rows import AlertRow, ArtefactRow, DeliveryRow, PausedDestinationRow, ResultRow
from db.store.conversion import delivery_of, from_json, to_json
from db.store.flagging import note_notice
from db.store.messages import withdraw
from db.store.room import Room
from db.store.transitions import Note, transition

__all__ = ["Outbox", "locked", "pointless"]

_WAITING = (DeliveryState.PENDING, DeliveryState.SENDING)
_OVER = (AlertState.DISMISSED, AlertState.SUPERSEDED)
_DELIVERY = Actor.process("delivery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox(Room):
    """What senders take from, and answer to."""

    def destinations(self) -> tuple[str, ...]:
        """The destinations that something waits for or is on its way to; each costs one look-up, whatever waits."""
        found: list[str] = []
        with self.database.read() as session:
            for state in _WAITING:
                name = ""
                next_name = select(DeliveryRow.destination).where(DeliveryRow.state == state).limit(1)
                next_name = next_name.order_by(DeliveryRow.destination)
                while (name := session.scalar(next_name.where(DeliveryRow.destination > name)) or "") != "":
                    found.append(name)
        return tuple(sorted(set(found)))

    def claim(
        self,
        destination: str,
        now: datetime,
        lease_s: float,
        *,
        told_before: datetime | None = None,
        attempts: int | None = None,
    ) -> StoredDelivery | None:
        """Take up the next delivery for the destination that is due, now SENDING for the lease; None: there is none.

        Those of one result go in their order: one waits while an earlier one for the same destination is not over.
        One whose sender fell silent is due again once its lease has passed, up to its cap of attempts. What a newer
        result has replaced while it was on its way is not tried again. Nothing is due while the destination is paused.
        A message waits until every object of its result is confirmed or given up, ``ALONE_AFTER`` at most.
        ``told_before``: later messages wait, but for those of the most pressing category. ``attempts``: the cap now.
        """
        due, lapsed = _due(destination, now, told_before), _lapsed(destination, now)
        with self.database.read() as session:  # no write lock is taken merely to look
            if session.get(PausedDestinationRow, destination) is not None:
                return None
            if session.scalar(due) is None and session.scalar(lapsed) is None:
                return None
        with self.database.write() as session:
            while (row := session.scalar(lapsed.with_for_update(skip_locked=True, of=DeliveryRow))) is not None:
                _end_attempt(session, row, "the sender fell silent", transient=True, at=now, delay_s=0.0)
            while (row := session.scalar(due.with_for_update(skip_locked=True, of=DeliveryRow))) is not None:
                if _taken_up(session, row, now, lease_s, attempts):
                    return delivery_of(row)
        return None

    def gather(
        self, first: StoredDelivery, now: datetime, lease_s: float, most: int, *, attempts: int | None = None
    ) -> tuple[StoredDelivery, ...]:
        """Take up the other messages for the destination of ``first`` that are due, to go with it in one letter."""
        due = _due(first.destination, now).where(DeliveryRow.alert_id.is_not(None))
        found: list[StoredDelivery] = []
        with self.database.write() as session:
            while len(found) < most:
                row = session.scalar(due.with_for_update(skip_locked=True, of=DeliveryRow))
                if row is None:
                    break
                if _taken_up(session, row, now, lease_s, attempts):
                    found.append(delivery_of(row))
        return tuple(found)

    def told_since(self, destination: str, since: datetime, most: int) -> tuple[datetime, ...]:
        """When letters with messages went to the destination, the newest first, at most so many."""
        sent_at = (
            select(DeliveryRow.sent_at)
            .where(
                DeliveryRow.destination == destination, DeliveryRow.alert_id.is_not(None), DeliveryRow.sent_at >= since
            )
            .distinct()
            .order_by(DeliveryRow.sent_at.desc())
            .limit(most)
        )
        with self.database.read() as session:
            return tuple(one for one in session.scalars(sent_at) if one is not None)

    def renew(self, delivery: StoredDelivery, lease_s: float) -> None:
        """Whoever sends this attempt still does.

        Raises:
            StaleState: it is not being sent in this attempt any more.
        """
        with self.database.write() as session:
            renewed = session.scalar(
                update(DeliveryRow)
                .where(
                    DeliveryRow.id == delivery.id,
                    DeliveryRow.state == DeliveryState.SENDING,
                    DeliveryRow.attempt == delivery.attempt,
                )
                .values(lease_expires_at=self.clock() + timedelta(seconds=lease_s))
                .returning(DeliveryRow.id)
            )
            if renewed is None:
                raise StaleState(f"Delivery {delivery.id} is not at attempt {delivery.attempt} any more.")

    def sent(self, delivery: StoredDelivery, answer: str | None = None) -> StoredDelivery:
        """The destination confirmed receipt, in these words.

        Raises:
            StaleState: it is not being sent in this attempt any more.
        """
        return self.all_sent((delivery,), answer)[0]

    def all_sent(
        self, deliveries: Sequence[StoredDelivery], answer: str | None = None, *, sent_as: Reference | None = None
    ) -> tuple[StoredDelivery, ...]:
        """The destination confirmed receipt of what went together; an alert that it was told of has been notified.

        ``sent_as``: the object that went in place of the artefact. Those are returned that were still being sent in
        this attempt; the others are whoever's who sends them now.

        Raises:
            StaleState: none is being sent in this attempt any more.
        """
        now = self.clock()
        note = Note(at=now, actor=_DELIVERY, detail=answer)
        over = {"sent_at": now, "lease_expires_at": None, "cause": None, "sent_as": sent_as and to_json(sent_as)}
        with self.database.write() as session:
            told = _alerts_of(session, deliveries)  # locked first, as whoever settles an alert does
            rows = [row for one in deliveries if (row := _still_sending(session, one)) is not None]
            if not rows:
                raise StaleState("None of it is being sent in this attempt any more.")
            for row in rows:
                transition(session, row, DeliveryEvent.CONFIRM, note, **over)
                if row.occasion == Occasion.FLAGGED:
                    note_notice(session, told[row.alert_id], replace(note, detail=row.destination))
                if row.alert_id in told and row.occasion != Occasion.WITHDRAWN and told[row.alert_id].state in _OVER:
                    withdraw(session, told[row.alert_id], note, [row.destination])  # it went out while it was withdrawn
            return tuple(delivery_of(row) for row in rows)

    def failed(
        self, delivery: StoredDelivery, cause: str, *, transient: bool, retry_delay_s: float = 0.0
    ) -> StoredDelivery:
        """A transient failure waits ``retry_delay_s`` and is tried again, up to the cap; else a dead letter.

        Raises:
            StaleState: it is not being sent in this attempt any more.
        """
        with self.database.write() as session:
            row = _held(session, delivery)
            _end_attempt(session, row, cause, transient=transient, at=self.clock(), delay_s=retry_delay_s)
            return delivery_of(row)

    def absent_segmentations(self, delivery: StoredDelivery) -> frozenset[str]:
        """SOP Instance UIDs of the result's segmentations that the delivery's destination has not confirmed."""
        at_destination = (
            select(ArtefactRow.sop_instance_uid)
            .join(DeliveryRow, DeliveryRow.artefact_id == ArtefactRow.id)
            .where(DeliveryRow.destination == delivery.destination, DeliveryRow.state == DeliveryState.SENT)
        )
        beside = aliased(ArtefactRow)
        with self.database.read() as session:
            result_id = session.scalar(select(DeliveryRow.result_id).where(DeliveryRow.id == delivery.id))
            found = session.scalars(
                select(beside.sop_instance_uid).where(
                    beside.result_id == result_id,
                    beside.kind.in_((ArtefactKind.OPACITIES, ArtefactKind.LOBES)),
                    ~at_destination.where(ArtefactRow.sop_instance_uid == beside.sop_instance_uid).exists(),
                )
            )
            return frozenset(uid for uid in found if uid)

    def sent_as(self, delivery: StoredDelivery) -> dict[str, Reference]:
        """What of the delivery's result went to its destination as another object, by its SOP Instance UID."""
        sent = (
            select(ArtefactRow.sop_instance_uid, DeliveryRow.sent_as)
            .join(DeliveryRow, DeliveryRow.artefact_id == ArtefactRow.id)
            .where(
                DeliveryRow.result_id == delivery.result_id,
                DeliveryRow.destination == delivery.destination,
                DeliveryRow.state == DeliveryState.SENT,
            )
        )
        with self.database.read() as session:
            return {uid: from_json(Reference, other) for uid, other in session.execute(sent) if uid and other}


def _due(destination: str, now: datetime, told_before: datetime | None = None) -> Select[DeliveryRow]:
    earlier, other = aliased(DeliveryRow), aliased(DeliveryRow)
    unconfirmed = exists().where(
        other.result_id == DeliveryRow.result_id, other.artefact_id.is_not(None), other.state.in_(_WAITING)
    )
    ready = or_(DeliveryRow.artefact_id.is_not(None), DeliveryRow.created_at <= now - ALONE_AFTER, ~unconfirmed)
    if told_before is not None:
        pressing = exists().where(AlertRow.id == DeliveryRow.alert_id, AlertRow.category == Category.CATEGORY_1.value)
        ready = ready & or_(DeliveryRow.created_at <= told_before, pressing)
    blocked = exists().where(
        earlier.result_id == DeliveryRow.result_id,
        earlier.destination == DeliveryRow.destination,
        earlier.id < DeliveryRow.id,
        earlier.state.in_(_WAITING),
    )
    return (
        select(DeliveryRow)
        .where(
            DeliveryRow.destination == destination,
            DeliveryRow.state == DeliveryState.PENDING,
            DeliveryRow.not_before <= now,
            ~blocked,
            ready,
        )
        .order_by(DeliveryRow.not_before, DeliveryRow.id)
        .limit(1)
    )


def _lapsed(destination: str, now: datetime) -> Select[DeliveryRow]:
    return (
        select(DeliveryRow)
        .where(
            DeliveryRow.destination == destination,
            DeliveryRow.state == DeliveryState.SENDING,
            DeliveryRow.lease_expires_at < now,
        )
        .limit(1)
    )


def locked(session: Session, delivery_id: int) -> DeliveryRow:
    """The row of the delivery, locked.

    Raises:
        StaleState: there is none.
    """
    row = session.scalar(select(DeliveryRow).where(DeliveryRow.id == delivery_id).with_for_update(of=DeliveryRow))
    if row is None:
        raise StaleState(f"There is no delivery {delivery_id}.")
    return row


def _alerts_of(session: Session, deliveries: Sequence[StoredDelivery]) -> Mapping[int | None, AlertRow]:
    """The alerts that these messages tell of, locked."""
    ids = [one.alert_id for one in deliveries if one.alert_id is not None]
    rows = select(AlertRow).where(AlertRow.id.in_(ids)).order_by(AlertRow.id).with_for_update()
    return {row.id: row for row in session.scalars(rows)} if ids else {}


def _held(session: Session, delivery: StoredDelivery) -> DeliveryRow:
    row = locked(session, delivery.id)
    if row.state == DeliveryState.SENDING and row.attempt != delivery.attempt:
        raise StaleState(f"Delivery {delivery.id} is at another attempt than {delivery.attempt}.")
    return row


def _still_sending(session: Session, delivery: StoredDelivery) -> DeliveryRow | None:
    row = locked(session, delivery.id)
    return row if row.state == DeliveryState.SENDING and row.attempt == delivery.attempt else None


def _taken_up(session: Session, row: DeliveryRow, now: datetime, lease_s: float, attempts: int | None) -> bool:
    """Whether the delivery is being sent from now on; one that is of no use any more is cancelled instead."""
    why = pointless(session, row)
    note = Note(at=now, actor=_DELIVERY, detail=why)
    if why:
        transition(session, row, DeliveryEvent.CANCEL, note)
        return False
    lease = now + timedelta(seconds=lease_s)
    begun = {"attempt": row.attempt + 1, "max_attempts": attempts or row.max_attempts, "lease_expires_at": lease}
    transition(session, row, DeliveryEvent.START, note, **begun)
    return True


def pointless(session: Session, row: DeliveryRow) -> str | None:
    """Why the delivery need not be made any more."""
    if row.alert_id is None:
        retired = select(ResultRow.superseded_at).where(ResultRow.id == row.result_id)
        return None if session.scalar(retired) is None else "a newer result replaced it"
    state = session.scalar(select(AlertRow.state).where(AlertRow.id == row.alert_id))
    over = state in _OVER
    if over is (row.occasion != Occasion.WITHDRAWN) or (row.occasion == Occasion.TAKEN_UP and state in UNDECIDED):
        return f"the alert is {state}"
    return None


def _end_attempt(
    session: Session, row: DeliveryRow, cause: str, *, transient: bool, at: datetime, delay_s: float
) -> None:
    again = transient and row.attempt < row.max_attempts
    event = DeliveryEvent.RETRY if again else DeliveryEvent.GIVE_UP
    not_before = at + timedelta(seconds=delay_s)
    note = Note(at=at, actor=_DELIVERY, detail=cause)
    transition(session, row, event, note, cause=cause, not_before=not_before, lease_expires_at=None)
    if event is DeliveryEvent.RETRY:  # what follows it waits with it, and is not looked through at every claim
        session.execute(
            update(DeliveryRow)
            .where(
                DeliveryRow.result_id == row.result_id,
                DeliveryRow.destination == row.destination,
                DeliveryRow.id > row.id,
                DeliveryRow.state == DeliveryState.PENDING,
                DeliveryRow.not_before < not_before,
            )
            .values(not_before=not_before)
        )
