"""What every room of the store works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.engine import Database
from db.errors import StaleState
from db.job import ACTIVE_JOB_STATES, JobEvent
from db.rows import JobRow, Row, SeriesRow
from db.store.transitions import Note, transition

JOB_CHANNEL = "lungsentry_jobs"

__all__ = ["JOB_CHANNEL", "Room", "active_job", "announce", "inserting", "locked_series", "stop_active_job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A part of the store: the database, and the clock that times are taken from."""

    database: Database
    clock: Callable[[], datetime]


def inserting(session: Session, table: type[Row]) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that can say ON CONFLICT, in the words of the database at hand."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def locked_series(session: Session, series_instance_uid: str) -> SeriesRow:
    """The series' row, locked until the transaction ends. It is always taken before the rows of its jobs.

    Raises:
        StaleState: there is no such series.
    """
    row = session.scalar(
        select(SeriesRow).where(SeriesRow.series_instance_uid == series_instance_uid).with_for_update()
    )
    if row is None:
        raise StaleState(f"There is no series {series_instance_uid}.")
    return row


def active_job(session: Session, series_instance_uid: str) -> JobRow | None:
    """The job of the series that waits or runs."""
    return session.scalar(
        select(JobRow)
        .where(JobRow.series_instance_uid == series_instance_uid, JobRow.state.in_(sorted(ACTIVE_JOB_STATES)))
        .with_for_update()
    )


def stop_active_job(session: Session, series_instance_uid: str, note: Note) -> None:
    """Cancel the job of the series, if one waits or runs, because its result would be stale."""
    job = active_job(session, series_instance_uid)
    if job is not None:
        transition(
            session, job, JobEvent.SUPERSEDE, note, finished_at=note.at, lease_expires_at=None, cause=note.detail
        )


def announce(session: Session) -> None:
    """Wake the workers when the transaction commits; on SQLite they see the commit itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"NOTIFY {JOB_CHANNEL}"))
