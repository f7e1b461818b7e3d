"""Which processes of the node live, as they say themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select

from db.rows import HeartbeatRow
from db.store.room import Room, inserting
from db.values import Heartbeat

__all__ = ["Heartbeats"]

KEPT = timedelta(days=7)
"""A machine that is gone for so long is not coming back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeats(Room):
    """One row for each process; it goes when the process ends, or is found dead by the next on its machine."""

    def beat(self, role: str, *, host: str, pid: int) -> None:
        """The process lives."""
        now = self.clock()
        with self.database.write() as session:
            statement = inserting(session, HeartbeatRow).values(
                role=role, host=host, pid=pid, started_at=now, beat_at=now
            )
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=[HeartbeatRow.role, HeartbeatRow.host, HeartbeatRow.pid], set_={"beat_at": now}
                )
            )

    def remove(self, role: str, *, host: str, pid: int) -> None:
        """The process ends."""
        with self.database.write() as session:
            session.execute(
                delete(HeartbeatRow).where(
                    HeartbeatRow.role == role, HeartbeatRow.host == host, HeartbeatRow.pid == pid
                )
            )

    def remove_dead(self, host: str, lives: Callable[[int], bool]) -> None:
        """Forget the processes of a machine that are no more, and those of machines that are gone."""
        with self.database.write() as session:
            session.execute(delete(HeartbeatRow).where(HeartbeatRow.beat_at < self.clock() - KEPT))
            for row in session.scalars(select(HeartbeatRow).where(HeartbeatRow.host == host)).all():
                if not lives(row.pid):
                    session.delete(row)

    def list(self) -> tuple[Heartbeat, ...]:
        """Every process that has not ended, by role."""
        statement = select(HeartbeatRow).order_by(HeartbeatRow.role, HeartbeatRow.host, HeartbeatRow.pid)
        with self.database.read() as session:
            return tuple(
                Heartbeat(role=row.role, host=row.host, pid=row.pid, started_at=row.started_at, beat_at=row.beat_at)
                for row in session.scalars(statement)
            )
