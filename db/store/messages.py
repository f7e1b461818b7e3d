"""Messages about alerts: queued in the transaction that gives the occasion, once for each destination."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from alerts.delivery import DeliveryState, Occasion
from db.rows import AlertRow, DeliveryRow, ResultRow
from db.store.queueing import DELIVERY_ATTEMPTS
from db.store.transitions import Note, record_event

__all__ = ["queue_messages", "renew_messages", "to_tell_again", "withdraw"]

_UNSENT = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED)
_WAITING = (DeliveryState.PENDING, DeliveryState.SENDING)


def queue_messages(
    session: Session,
    alert: AlertRow,
    occasion: Occasion,
    destinations: Iterable[str],
    note: Note,
    *,
    attempts: int = DELIVERY_ATTEMPTS,
) -> tuple[int, ...]:
    """Tell these destinations of the alert; whoever has not yet been sent the last word on it is not told twice."""
    waiting = set(
        session.scalars(
            select(DeliveryRow.destination).where(
                DeliveryRow.alert_id == alert.id, DeliveryRow.occasion == occasion, DeliveryRow.state.in_(_WAITING)
            )
        )
    )
    series = session.scalars(select(ResultRow.series_instance_uid).where(ResultRow.id == alert.result_id)).one()
    queued: list[int] = []
    for destination in dict.fromkeys(destinations):
        if destination in waiting:
            continue
        row = DeliveryRow(
            result_id=alert.result_id,
            series_instance_uid=series,
            alert_id=alert.id,
            occasion=occasion.value,
            destination=destination,
            state=DeliveryState.PENDING.value,
            attempt=0,
            max_attempts=attempts,
            not_before=note.at,
            created_at=note.at,
        )
        session.add(row)
        session.flush()
        record_event(session, "delivery", row.id, "queue", note, series=series, moved=(None, row.state))
        queued.append(row.id)
    return tuple(queued)


def _kept_from(session: Session, alert: AlertRow) -> tuple[str, ...]:
    """The destinations whose last message that the alert is flagged was cancelled."""
    last = (
        select(func.max(DeliveryRow.id))
        .where(DeliveryRow.alert_id == alert.id, DeliveryRow.occasion == Occasion.FLAGGED)
        .group_by(DeliveryRow.destination)
    )
    withdrawn = select(DeliveryRow.destination).where(
        DeliveryRow.id.in_(last), DeliveryRow.state == DeliveryState.CANCELLED
    )
    return tuple(session.scalars(withdrawn.order_by(DeliveryRow.id)))


def to_tell_again(session: Session, alert: AlertRow) -> tuple[str, ...]:
    """Who is told of what is flagged, and was kept from it, or told that it holds no longer, by a dismissal."""
    flagged = select(DeliveryRow.destination).where(
        DeliveryRow.alert_id == alert.id, DeliveryRow.occasion == Occasion.FLAGGED
    )
    told = _last_told(session, alert, DeliveryRow.occasion == Occasion.WITHDRAWN, DeliveryRow.destination.in_(flagged))
    return (*_kept_from(session, alert), *told)


def withdraw(session: Session, alert: AlertRow, note: Note, destinations: Iterable[str] | None = None) -> None:
    """Tell these destinations that the alert holds no longer; none named: those that have been told that it does."""
    if destinations is None:
        destinations = _last_told(session, alert, DeliveryRow.occasion != Occasion.WITHDRAWN)
    queue_messages(session, alert, Occasion.WITHDRAWN, destinations, note)


def _last_told(session: Session, alert: AlertRow, *terms: ColumnElement[bool]) -> tuple[str, ...]:
    """The destinations whose last message about the alert that arrived is such."""
    last = (
        select(func.max(DeliveryRow.id))
        .where(DeliveryRow.alert_id == alert.id, DeliveryRow.state == DeliveryState.SENT)
        .group_by(DeliveryRow.destination)
    )
    found = select(DeliveryRow.destination).where(DeliveryRow.id.in_(last), *terms)
    return tuple(session.scalars(found.order_by(DeliveryRow.id)))


def renew_messages(session: Session, alert: AlertRow, note: Note) -> None:
    """What is still to be told of the alert is told of the result that it stands for now."""
    session.flush()
    unsent = session.scalars(
        select(DeliveryRow)
        .where(
            DeliveryRow.alert_id == alert.id,
            DeliveryRow.result_id != alert.result_id,
            DeliveryRow.state.in_(_UNSENT),
        )
        .with_for_update(of=DeliveryRow)
    ).all()
    for row in unsent:
        row.result_id = alert.result_id
        record_event(session, "delivery", row.id, "take_over", note, series=row.series_instance_uid)
    session.flush()
