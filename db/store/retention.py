"""Which instances may leave the archive."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from db.errors import StaleState
from db.rows import InstanceRow, SeriesRow
from db.series_state import SeriesState
from db.store.conversion import instance_of
from db.store.room import Room, locked_series
from db.store.transitions import Note, record_event
from db.values import StoredInstance

__all__ = ["Retention"]

REMOVABLE = frozenset({SeriesState.ANALYSED, SeriesState.EXCLUDED})
"""A failed series keeps its instances: somebody has to look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Room):
    """What is unprocessed never goes."""

    def removable(self, before: datetime) -> tuple[str, ...]:
        """The series that ended, and last received something, before that time, and still have instances."""
        there = select(InstanceRow.id).where(
            InstanceRow.series_instance_uid == SeriesRow.series_instance_uid, InstanceRow.removed_at.is_(None)
        )
        with self.database.read() as session:
            return tuple(
                session.scalars(
                    select(SeriesRow.series_instance_uid)
                    .where(
                        SeriesRow.state.in_(sorted(REMOVABLE)),
                        SeriesRow.ended_at < before,
                        SeriesRow.last_received_at < before,
                        there.exists(),
                    )
                    .order_by(SeriesRow.ended_at)
                )
            )

    def files(self, series_instance_uid: str) -> tuple[StoredInstance, ...]:
        """Every version of every instance that is still there: what is to be unlinked before ``removed``."""
        with self.database.read() as session:
            rows = session.scalars(
                select(InstanceRow).where(
                    InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None)
                )
            )
            return tuple(instance_of(row) for row in rows)

    def removed(self, series_instance_uid: str) -> None:
        """The files of the series are gone.

        Raises:
            StaleState: the series is at work again.
        """
        now = self.clock()
        with self.database.write() as session:
            series = locked_series(session, series_instance_uid)
            if series.state not in REMOVABLE:
                raise StaleState(f"Series {series_instance_uid} is {series.state}.")
            session.execute(
                update(InstanceRow)
                .where(InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None))
                .values(removed_at=now)
            )
            series.instances_removed_at = now
            record_event(
                session, "series", series_instance_uid, "instances_removed", Note(at=now), series=series_instance_uid
            )
