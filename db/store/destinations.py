"""Destinations that are paused: what is for them waits."""

from dataclasses import dataclass

from sqlalchemy import delete, select

from db.actor import Actor
from db.outbound import PausedDestination
from db.rows import PausedDestinationRow
from db.store.room import Room, inserting
from db.store.transitions import Note, record_event

__all__ = ["Destinations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations(Room):
    """Which destinations of the settings are paused, since when and by whom."""

    def pause(self, name: str, who: str, reason: str | None = None) -> bool:
        """Nothing more is taken up for the destination; False where it is paused already."""
        now = self.clock()
        with self.database.write() as session:
            statement = inserting(session, PausedDestinationRow).values(
                name=name, paused_at=now, paused_by=who, reason=reason
            )
            paused = session.scalar(statement.on_conflict_do_nothing().returning(PausedDestinationRow.name))
            if paused is not None:
                record_event(session, "destination", name, "pause", Note(at=now, actor=Actor.user(who), detail=reason))
            return paused is not None

    def resume(self, name: str, who: str) -> bool:
        """What waits for the destination is due again; False where it was not paused."""
        now = self.clock()
        with self.database.write() as session:
            resumed = session.scalar(
                delete(PausedDestinationRow)
                .where(PausedDestinationRow.name == name)
                .returning(PausedDestinationRow.name)
            )
            if resumed is not None:
                record_event(session, "destination", name, "resume", Note(at=now, actor=Actor.user(who)))
            return resumed is not None

    def paused(self) -> tuple[PausedDestination, ...]:
        """Those that are paused, by name."""
        with self.database.read() as session:
            rows = session.scalars(select(PausedDestinationRow).order_by(PausedDestinationRow.name))
            return tuple(
                PausedDestination(name=row.name, paused_at=row.paused_at, paused_by=row.paused_by, reason=row.reason)
                for row in rows
            )
