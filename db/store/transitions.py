"""The one writer of state: a guarded update, and its event in the same transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from alerts.alert import ALERT_TRANSITIONS
from alerts.delivery import DELIVERY_TRANSITIONS
from db.actor import Actor
from db.commitment import COMMITMENT_TRANSITIONS
from db.errors import StaleState
from db.job import JOB_TRANSITIONS
from db.performed_step import STEP_TRANSITIONS
from db.rows import (
    AlertRow,
    CommitmentRow,
    DeliveryRow,
    EventRow,
    JobRow,
    PerformedStepRow,
    Row,
    SeriesRow,
    StateCountRow,
)
from db.series_state import SERIES_TRANSITIONS

_TABLES: Mapping[type[Any], tuple[str, str, Mapping[Any, Any]]] = {
    SeriesRow: ("series", "series_instance_uid", SERIES_TRANSITIONS),
    JobRow: ("job", "id", JOB_TRANSITIONS),
    AlertRow: ("alert", "id", ALERT_TRANSITIONS),
    DeliveryRow: ("delivery", "id", DELIVERY_TRANSITIONS),
    CommitmentRow: ("commitment", "id", COMMITMENT_TRANSITIONS),
    PerformedStepRow: ("performed_step", "sop_instance_uid", STEP_TRANSITIONS),
}
COUNTED = frozenset({"series", "job", "alert", "delivery", "commitment"})
"""The kinds whose states are counted as they change, so that nobody counts the rows."""
_NEW_EVENT, _NEW_COUNT = (insert(Row.metadata.tables[one.__tablename__]) for one in (EventRow, StateCountRow))
"""Of tables and not of mapped classes: nobody reads what was written, and so the session need not know of it."""
_Row = TypeVar("_Row", SeriesRow, JobRow, AlertRow, DeliveryRow, CommitmentRow, PerformedStepRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """When something happened, who did it, and what is worth remembering. Nothing about the patient."""

    at: datetime
    actor: Actor
    detail: str | None = None


def transition(session: Session, row: _Row, happened: StrEnum, note: Note, /, **changes: Any) -> None:
    """Move ``row`` along the arrow of ``happened`` from the state it was read in, with ``changes``, and say so.

    A series and a job are also guarded by what makes them another one: the revision, the attempt.

    Raises:
        StaleState: there is no such arrow, or somebody else has moved it since it was read.
    """
    kind, key, arrows = _TABLES[type(row)]
    identity = getattr(row, key)
    before = row.state
    after = arrows.get((before, happened))
    if after is None:
        raise StaleState(f"{kind.capitalize()} {identity} is {before}, which does not allow {happened.value!r}.")
    table = type(row)
    statement = update(table).where(getattr(table, key) == identity, table.state == before)
    if isinstance(row, SeriesRow):
        statement = statement.where(SeriesRow.revision == row.revision)
    elif isinstance(row, JobRow | DeliveryRow | CommitmentRow):
        statement = statement.where(getattr(table, "attempt") == row.attempt)  # noqa: B009 - only these have it
    statement = statement.values(state=after.value, **changes).returning(table)
    moved = session.scalar(statement, execution_options={"synchronize_session": False, "populate_existing": True})
    if moved is None:
        raise StaleState(f"{kind.capitalize()} {identity} is no longer {before}.")
    series = None if isinstance(row, CommitmentRow | PerformedStepRow) else row.series_instance_uid
    record_event(session, kind, identity, happened.value, note, series=series, moved=(before, after.value))


def record_event(
    session: Session,
    kind: str,
    identity: object,
    event: str,
    note: Note,
    *,
    series: str | None = None,
    moved: tuple[str | None, str | None] = (None, None),
) -> None:
    """Write down what happened, in the transaction that made it so."""
    happened = {
        "at": note.at,
        "subject_kind": kind,
        "subject_id": str(identity),
        "series_instance_uid": series,
        "event": event,
        "from_state": moved[0],
        "to_state": moved[1],
        "actor_kind": note.actor.kind,
        "actor_name": note.actor.name,
        "detail": note.detail,
    }
    session.connection().execute(_NEW_EVENT, happened)
    before, after = moved
    if kind in COUNTED and before != after:
        count_states(session, kind, {before or "": -1, after or "": 1})


def count_states(session: Session, kind: str, changes: Mapping[str, int]) -> None:
    """So many more, or fewer, of a kind stand in these states from this transaction on."""
    rows = [{"kind": kind, "state": state, "count": change} for state, change in changes.items() if state and change]
    if rows:
        session.connection().execute(_NEW_COUNT, rows)
