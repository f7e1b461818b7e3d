"""Times that lie further ahead than anything is ever put off: the clock was set back after they were written."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select, update

from alerts.delivery import DeliveryState
from db.commitment import CommitmentState
from db.job import JobState
from db.rows import CommitmentRow, DeliveryRow, JobRow, Row, SeriesRow
from db.series_state import SeriesState
from db.store.commitments import ANSWERING_LEASE_S
from db.store.room import Room

__all__ = ["Timekeeping"]

TOLERANCE = timedelta(seconds=5)
"""Clocks of machines that share a database may differ by as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Correction:
    """Rows of a table whose time cannot be meant, and the time that they get."""

    table: type[Row]
    where: ColumnElement[bool]
    column: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Timekeeping(Room):
    """Corrects what a clock that was set back has left in the future, so that nothing waits for it to come again."""

    def bring_back(self, now: datetime, *, longest_wait_s: float, job_lease_s: float, delivery_lease_s: float) -> int:
        """Bring back every time that cannot be meant; how many rows that were.

        What waits is due now; a lease begins anew, so that who lives can renew it; quiet time is counted from now.
        ``longest_wait_s`` is the longest delay before another attempt; the leases are those of jobs and of deliveries.
        """
        corrections = _corrections(
            now,
            longest_wait=timedelta(seconds=longest_wait_s),
            job_lease=timedelta(seconds=job_lease_s),
            delivery_lease=timedelta(seconds=delivery_lease_s),
        )
        with self.database.read() as session:  # no write lock is taken merely to look
            wrong = [one for one in corrections if session.scalar(select(select(one.table).where(one.where).exists()))]
        if not wrong:
            return 0
        with self.database.write() as session:
            return sum(
                len(
                    session.execute(
                        update(one.table)
                        .where(one.where)
                        .values({one.column: one.time})
                        .returning(*one.table.__table__.primary_key)
                    ).all()
                )
                for one in wrong
            )


def _corrections(
    now: datetime, *, longest_wait: timedelta, job_lease: timedelta, delivery_lease: timedelta
) -> tuple[_Correction, ...]:
    soon, late = now + TOLERANCE, now + TOLERANCE + longest_wait
    answering_lease = timedelta(seconds=ANSWERING_LEASE_S)
    receiving, complete = SeriesState.RECEIVING.value, SeriesState.COMPLETE.value
    waits = (
        (JobRow, JobState.QUEUED.value, JobState.RUNNING.value, job_lease),
        (DeliveryRow, DeliveryState.PENDING.value, DeliveryState.SENDING.value, delivery_lease),
        (CommitmentRow, CommitmentState.PENDING.value, CommitmentState.ANSWERING.value, answering_lease),
    )
    of_series = (
        _Correction(
            table=SeriesRow,
            where=(SeriesRow.state == receiving) & (SeriesRow.last_received_at > soon),
            column="last_received_at",
            time=now,
        ),
        _Correction(
            table=SeriesRow,
            where=(SeriesRow.state == complete) & (SeriesRow.completed_at > soon),
            column="completed_at",
            time=now,
        ),
    )
    of_waiting = tuple(
        _Correction(
            table=table,
            where=(table.state == waiting)
            & (table.not_before > soon)
            & ((table.not_before > late) | (table.attempt == 0)),
            column="not_before",
            time=now,
        )
        for table, waiting, _, _ in waits
    )
    of_leases = tuple(
        _Correction(
            table=table,
            where=(table.state == leased) & (table.lease_expires_at > soon + lease),
            column="lease_expires_at",
            time=now + lease,
        )
        for table, _, leased, lease in waits
    )
    return of_series + of_waiting + of_leases
