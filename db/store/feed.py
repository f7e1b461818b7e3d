"""Events as they come, for who follows along."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, or_, select

from db.rows import EventRow
from db.store.conversion import event_of
from db.store.room import Room
from db.values import StoredEvent

__all__ = ["OVERLAP", "Feed"]

OVERLAP = timedelta(seconds=10)
"""On PostgreSQL an event may be committed after one with a higher number: for so long one looks back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed(Room):
    """The events of everything, by number."""

    def last(self) -> int:
        """The number of the newest event; 0 where there is none."""
        with self.database.read() as session:
            return session.scalar(select(func.max(EventRow.id))) or 0

    def after(self, number: int, *, limit: int, kinds: Collection[str] = ()) -> tuple[StoredEvent, ...]:
        """Events with a higher number, in order, and those of the ten seconds before that one."""
        with self.database.read() as session:
            known = session.get(EventRow, number)
            newer = EventRow.id > number
            if known is not None:
                recent = (EventRow.id > number - limit) & (EventRow.id != number)
                newer = or_(newer, recent & (EventRow.at > known.at - OVERLAP))
            statement = select(EventRow).where(newer).order_by(EventRow.id).limit(limit)
            if kinds:
                statement = statement.where(EventRow.subject_kind.in_(sorted(kinds)))
            return tuple(event_of(row) for row in session.scalars(statement))
