"""Destinations that are paused: what is for them waits; and what each of them refuses."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select

from db.actor import Actor
from db.outbound import PausedDestination, RefusedClass
from db.rows import PausedDestinationRow, RefusedClassRow
from db.store.room import Room, inserting
from db.store.transitions import Note, record_event

__all__ = ["ASKED_AGAIN", "Destinations"]

ASKED_AGAIN = timedelta(days=1)
"""What a destination refused is offered to it again after so long; it may have been configured meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations(Room):
    """Which destinations of the settings are paused, since when and by whom, and which SOP classes they refuse."""

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
        """What waits for the destination is due again, and what it refused is offered; False if it was not paused."""
        now = self.clock()
        with self.database.write() as session:
            session.execute(delete(RefusedClassRow).where(RefusedClassRow.destination == name))
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

    def refuse(self, name: str, sop_class_uid: str, answer: str) -> None:
        """The destination does not take such objects, in these words: so it is told until it is asked again."""
        said = {"refused_at": self.clock(), "answer": answer}
        with self.database.write() as session:
            statement = inserting(session, RefusedClassRow).values(
                destination=name, sop_class_uid=sop_class_uid, **said
            )
            session.execute(statement.on_conflict_do_update(index_elements=["destination", "sop_class_uid"], set_=said))

    def forget_refused(self, name: str) -> None:
        """What the destination refused is offered to it again."""
        with self.database.write() as session:
            session.execute(delete(RefusedClassRow).where(RefusedClassRow.destination == name))

    def refused(self, name: str | None = None) -> tuple[RefusedClass, ...]:
        """What destinations refused and are not offered for now, or this one."""
        statement = select(RefusedClassRow).where(RefusedClassRow.refused_at > self.clock() - ASKED_AGAIN)
        if name is not None:
            statement = statement.where(RefusedClassRow.destination == name)
        with self.database.read() as session:
            rows = session.scalars(statement.order_by(RefusedClassRow.destination, RefusedClassRow.sop_class_uid))
            return tuple(
                RefusedClass(
                    destination=row.destination,
                    sop_class_uid=row.sop_class_uid,
                    refused_at=row.refused_at,
                    answer=row.answer,
                )
                for row in rows
            )
