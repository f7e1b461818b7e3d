"""When results reached the PACS."""

from dataclasses import dataclass

from sqlalchemy import select, text

from db.job import JobPriority
from db.lateness import Lateness, lateness_of
from db.rows import ArtefactRow, DeliveryRow, JobRow, ResultRow, SeriesRow
from db.store.room import Room

__all__ = ["LATEST", "LatenessRoom"]

LATEST = 1000
"""So many objects that were confirmed last are looked at, whatever number there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatenessRoom(Room):
    """From the last image to the receipt of the last object of its result."""

    def lately(self) -> Lateness | None:
        """The lateness of the results that destinations confirmed last; None where there are none.

        Those of re-runs are left out, and what later images have made a part of something newer.
        """
        newest = (
            select(DeliveryRow.result_id, DeliveryRow.destination, DeliveryRow.sent_at, DeliveryRow.artefact_id)
            .where(text("deliveries.state = 'sent'"), DeliveryRow.sent_at.is_not(None))
            .order_by(DeliveryRow.sent_at.desc())
            .limit(LATEST)
            .subquery()
        )
        statement = (
            select(newest.c.result_id, newest.c.destination, newest.c.sent_at, SeriesRow.last_received_at)
            .join(ArtefactRow, ArtefactRow.id == newest.c.artefact_id)
            .join(ResultRow, ResultRow.id == newest.c.result_id)
            .join(JobRow, JobRow.id == ResultRow.job_id)
            .join(SeriesRow, SeriesRow.series_instance_uid == ResultRow.series_instance_uid)
            .where(
                ArtefactRow.sop_instance_uid.is_not(None),
                JobRow.priority == JobPriority.FRESH,
                SeriesRow.revision == ResultRow.revision,
            )
        )
        last: dict[tuple[int, str], float] = {}
        with self.database.read() as session:
            for result, destination, sent_at, received_at in session.execute(statement):
                seconds = (sent_at - received_at).total_seconds()
                last[result, destination] = max(seconds, last.get((result, destination), 0.0))
        return lateness_of(list(last.values()))
