"""What of a result is to be sent: each object to each destination once, whatever number of results it belongs to."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from alerts.delivery import Delivery, DeliveryEvent, DeliveryState
from db.rows import ArtefactRow, DeliveryRow, ResultRow
from db.store.transitions import Note, record_event, transition

__all__ = ["DELIVERY_ATTEMPTS", "cancel_deliveries", "queue_deliveries"]

DELIVERY_ATTEMPTS = 12
_UNDER_WAY = (DeliveryState.PENDING, DeliveryState.SENDING)


def queue_deliveries(
    session: Session, result: ResultRow, deliveries: Sequence[Delivery], note: Note, *, attempts: int
) -> tuple[int, ...]:
    """Queue what is neither confirmed by its destination nor on its way to it; the ids of what is to be sent.

    What is on its way belongs to this result from now on.
    """
    artefacts = {one.name: one for one in result.artefacts}
    queued: list[int] = []
    for delivery in deliveries:
        artefact = artefacts[delivery.artefact]
        known = _known(session, artefact, delivery.destination)
        if any(one.state == DeliveryState.SENT for one in known):
            continue
        row = next((one for one in known if one.state in _UNDER_WAY), None)
        if row is None:
            row = _new(result, artefact, delivery.destination, note, attempts)
            session.add(row)
            session.flush()
            moved = (None, row.state)
            record_event(session, "delivery", row.id, "queue", note, series=row.series_instance_uid, moved=moved)
        elif row.result_id != result.id:
            row.result_id, row.artefact_id = result.id, artefact.id
            record_event(session, "delivery", row.id, "take_over", note, series=row.series_instance_uid)
        queued.append(row.id)
    session.flush()
    return tuple(queued)


def cancel_deliveries(session: Session, result_id: int, note: Note) -> None:
    """No object of the result is begun to be sent any more; messages end with their alert."""
    unsent = session.scalars(
        select(DeliveryRow)
        .where(
            DeliveryRow.result_id == result_id,
            DeliveryRow.artefact_id.is_not(None),
            DeliveryRow.state.in_([DeliveryState.PENDING, DeliveryState.FAILED]),
        )
        .with_for_update(of=DeliveryRow)
    ).all()
    for delivery in unsent:
        transition(session, delivery, DeliveryEvent.CANCEL, note)


def _known(session: Session, artefact: ArtefactRow, destination: str) -> Sequence[DeliveryRow]:
    """Every delivery of the same object to the destination."""
    if artefact.sop_instance_uid is None:
        return ()
    return session.scalars(
        select(DeliveryRow)
        .join(ArtefactRow, ArtefactRow.id == DeliveryRow.artefact_id)
        .where(ArtefactRow.sop_instance_uid == artefact.sop_instance_uid, DeliveryRow.destination == destination)
        .with_for_update(of=DeliveryRow)
    ).all()


def _new(result: ResultRow, artefact: ArtefactRow, destination: str, note: Note, attempts: int) -> DeliveryRow:
    return DeliveryRow(
        result_id=result.id,
        series_instance_uid=result.series_instance_uid,
        artefact=artefact,
        destination=destination,
        state=DeliveryState.PENDING.value,
        attempt=0,
        max_attempts=attempts,
        not_before=note.at,
        created_at=note.at,
    )
