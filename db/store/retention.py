"""Which instances may go, and that they are gone. Results, alerts and events stay."""

from datetime import UTC, datetime

from sqlalchemy import select, update

from db.engine import Database
from db.rows import InstanceRow, SeriesRow
from db.series_state import SeriesState
from db.store.records import all_of, instance_of
from db.store.transitions import Note, record_event
from db.values import StoredInstance

_ENDED = (SeriesState.ANALYSED.value, SeriesState.EXCLUDED.value)
_RETENTION = "retention"


class Retention:
    """Only series that ended well are named: what failed or waits is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def removable(self, before: datetime) -> tuple[str, ...]:
        """Series that ended before then and whose files are still there, the oldest first."""
        with self._database.read() as session:
            return tuple(
                session.scalars(
                    select(SeriesRow.series_instance_uid)
                    .where(
                        SeriesRow.state.in_(_ENDED),
                        SeriesRow.ended_at < before,
                        SeriesRow.instances_removed_at.is_(None),
                    )
                    .order_by(SeriesRow.ended_at)
                )
            )

    def instances(self, series_instance_uid: str) -> tuple[StoredInstance, ...]:
        """Every version of every instance of a series whose file is still there."""
        with self._database.read() as session:
            rows = session.scalars(
                select(InstanceRow).where(
                    InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None)
                )
            )
            return all_of(rows, instance_of)

    def removed(self, series_instance_uid: str) -> None:
        """The files of the series are gone."""
        note = Note(at=datetime.now(UTC), actor=_RETENTION)
        with self._database.write() as session:
            session.execute(
                update(SeriesRow)
                .where(SeriesRow.series_instance_uid == series_instance_uid)
                .values(instances_removed_at=note.at)
            )
            session.execute(
                update(InstanceRow)
                .where(InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None))
                .values(removed_at=note.at)
            )
            record_event(session, "series", series_instance_uid, "instances_removed", note, series=series_instance_uid)
