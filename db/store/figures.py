"""What a monitor asks for: how much waits, by what; never more rows are looked at than a limit, whatever there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from alerts.alert import UNDECIDED
from alerts.delivery import DeliveryState
from db.job import JobPriority
from db.rows import AlertRow, DeliveryRow, JobRow
from db.store.room import Room

__all__ = ["Figures", "FiguresRoom"]

MOST = 10_000
"""What is more counts as so many."""
_QUEUED = text("jobs.state = 'queued'")
"""In words that the index of waiting jobs is found by."""
_UNSENT = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts, each up to ``most``.

    Waiting jobs and when the first in line was queued by priority, deliveries by destination and state, alerts that
    are undecided by state and category.
    """

    most: int
    jobs_queued: Mapping[str, int]
    first_in_line: Mapping[str, datetime]
    deliveries: Mapping[tuple[str, str], int]
    alerts: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiguresRoom(Room):
    """Reads the figures."""

    def read(self) -> Figures:
        """The figures of this moment."""
        with self.database.read() as session:
            firsts = {one.name.lower(): _first(session, one) for one in JobPriority}
            return Figures(
                most=MOST,
                jobs_queued={one.name.lower(): _queued(session, one) for one in JobPriority},
                first_in_line={name: at for name, at in firsts.items() if at is not None},
                deliveries={
                    (destination, state.value): number
                    for state in _UNSENT
                    for destination, number in _counted(
                        session, DeliveryRow.destination, DeliveryRow.state == state
                    ).items()
                },
                alerts={
                    (state.value, category): number
                    for state in sorted(UNDECIDED)
                    for category, number in _counted(session, AlertRow.category, AlertRow.state == state).items()
                },
            )


def _queued(session: Session, priority: JobPriority) -> int:
    some = select(JobRow.id).where(_QUEUED, JobRow.priority == priority.value).limit(MOST).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _first(session: Session, priority: JobPriority) -> datetime | None:
    line = select(JobRow.created_at).where(_QUEUED, JobRow.priority == priority.value)
    return session.scalar(line.order_by(JobRow.turn, JobRow.id).limit(1))


def _counted(session: Session, column: InstrumentedAttribute[str], which: ColumnElement[bool]) -> dict[str, int]:
    some: Any = select(column.label("name")).where(which).limit(MOST).subquery()
    return {
        name: int(number) for name, number in session.execute(select(some.c.name, func.count()).group_by(some.c.name))
    }
