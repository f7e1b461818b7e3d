"""Retiring a result: it stays as history, and what was still to be sent of it ends.

The study's alert follows once the transaction has changed all that it changes: see ``flagging``.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.rows import ResultRow
from db.store.queueing import cancel_deliveries
from db.store.transitions import Note, record_event

__all__ = ["retire_result", "supersede_result"]


def supersede_result(session: Session, series_instance_uid: str, note: Note) -> int | None:
    """Mark the result in force as superseded; its id, None if there is none."""
    result = session.scalar(
        select(ResultRow)
        .where(ResultRow.series_instance_uid == series_instance_uid, ResultRow.superseded_at.is_(None))
        .with_for_update()
    )
    if result is None:
        return None
    result.superseded_at = note.at
    session.flush()
    record_event(session, "result", result.id, "supersede", note, series=series_instance_uid)
    return result.id


def retire_result(session: Session, series_instance_uid: str, note: Note) -> None:
    """No result of the series is in force any more."""
    superseded = supersede_result(session, series_instance_uid, note)
    if superseded is not None:
        cancel_deliveries(session, superseded, note)
