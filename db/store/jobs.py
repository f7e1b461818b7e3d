"""The queue: each job claimed by one worker at a time, leased, retried up to a cap, never lost."""

import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from analysis.series.verdicts import Screening
from db.engine import Database
from db.errors import StaleState
from db.job import ACTIVE_JOB_STATES, Job, JobEvent, JobState
from db.rows import JobRow, SeriesRow
from db.series_state import SeriesEvent, SeriesState
from db.store.intake import series_at, supersede_jobs
from db.store.records import all_of, job_of, to_json
from db.store.transitions import Note, transition

_CHANNEL = "lungsentry_jobs"
_POLL_S = 0.05
_QUEUE = "queue"


class Jobs:
    """Jobs, from their making to their end; results end them in :class:`~db.store.results.Results`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(
        self,
        series_instance_uid: str,
        revision: int,
        screening: Screening,
        max_attempts: int,
        requested_by: str = "completion",
    ) -> Job:
        """Queue the analysis of a screened series; asked twice for the same revision it is the same job.

        Raises:
            StaleState: the series is of another revision, or not complete.
        """
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = series_at(session, series_instance_uid, revision)
            waiting = _active(session, series_instance_uid, revision)
            if waiting is not None and row.state == SeriesState.QUEUED.value:
                return job_of(waiting)
            note = Note(at=now, actor=requested_by)
            supersede_jobs(session, series_instance_uid, note)
            transition(
                session,
                row,
                SeriesEvent.ENQUEUE,
                note,
                screening=to_json(screening),
                profile=screening.profile.value if screening.profile else None,
                reason=None,
            )
            return job_of(new_job(session, row, max_attempts, note))

    def claim(self, worker: str, lease_s: float) -> Job | None:
        """The oldest job that is due, now this worker's for ``lease_s`` seconds; None where there is none."""
        now = datetime.now(UTC)
        due = (
            select(JobRow)
            .where(JobRow.state == JobState.QUEUED.value, JobRow.not_before <= now)
            .order_by(JobRow.not_before, JobRow.id)
            .limit(1)
        )
        if self._database.is_sqlite and not self._any(due):
            return None  # no write lock is taken merely to look
        with self._database.write() as session:
            row = session.scalar(due.with_for_update(skip_locked=True))
            if row is None:
                return None
            transition(
                session,
                row,
                JobEvent.CLAIM,
                Note(at=now, actor=worker),
                worker=worker,
                attempt=row.attempt + 1,
                started_at=now,
                lease_expires_at=now + timedelta(seconds=lease_s),
            )
            return job_of(row)

    def heartbeat(self, job_id: int, worker: str, lease_s: float) -> None:
        """The worker is alive and keeps its job for another ``lease_s`` seconds.

        Raises:
            StaleState: the job is not this worker's any more.
        """
        with self._database.write() as session:
            row = claimed(session, job_id, worker)
            row.lease_expires_at = datetime.now(UTC) + timedelta(seconds=lease_s)

    def fail(self, job: Job, cause: str, *, transient: bool, retry_delay_s: float) -> Job:
        """The attempt failed: again after ``retry_delay_s`` if transient and attempts are left, else a dead letter.

        Raises:
            StaleState: the job is not that worker's any more.
        """
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = claimed(session, job.id, job.worker or "", attempt=job.attempt)
            note = Note(at=now, actor=row.worker, detail=cause)
            if transient and row.attempt < row.max_attempts:
                transition(
                    session,
                    row,
                    JobEvent.RETRY,
                    note,
                    cause=cause,
                    lease_expires_at=None,
                    not_before=now + timedelta(seconds=retry_delay_s),
                )
            else:
                _give_up(session, row, cause, note)
            return job_of(row)

    def release_lapsed(self, now: datetime) -> tuple[Job, ...]:
        """Take back the jobs of workers that fell silent: queued again, or dead letters at the cap of attempts."""
        lapsed = (
            select(JobRow)
            .where(JobRow.state == JobState.RUNNING.value, JobRow.lease_expires_at < now)
            .order_by(JobRow.id)
        )
        if self._database.is_sqlite and not self._any(lapsed):
            return ()
        with self._database.write() as session:
            rows = session.scalars(lapsed.with_for_update(skip_locked=True)).all()
            for row in rows:
                cause = f"lease lapsed on attempt {row.attempt} of {row.max_attempts}"
                note = Note(at=now, actor=_QUEUE, detail=cause)
                if row.attempt < row.max_attempts:
                    transition(session, row, JobEvent.LAPSE, note, cause=cause, lease_expires_at=None, not_before=now)
                else:
                    _give_up(session, row, cause, note)
            return all_of(rows, job_of)

    def cancel(self, job_id: int, who: str) -> Job:
        """Stop a job that waits or runs; its series counts as failed, and may be requeued.

        Raises:
            StaleState: there is no such job, or it has ended.
        """
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise StaleState(f"There is no job {job_id}.")
            cause = f"cancelled by {who}"
            note = Note(at=now, actor=who, detail=cause)
            transition(session, row, JobEvent.CANCEL, note, cause=cause, finished_at=now, lease_expires_at=None)
            _fail_series(session, row, cause, note)
            return job_of(row)

    def list(self, states: Collection[JobState] | None = None, limit: int | None = None) -> tuple[Job, ...]:
        """Jobs in these states (None: in any), the newest first."""
        statement = select(JobRow).order_by(JobRow.id.desc())
        if states is not None:
            statement = statement.where(JobRow.state.in_([state.value for state in states]))
        with self._database.read() as session:
            return all_of(session.scalars(statement.limit(limit)), job_of)

    def get(self, job_id: int) -> Job | None:
        """One job; None where there is none of that number."""
        with self._database.read() as session:
            row = session.get(JobRow, job_id)
            return None if row is None else job_of(row)

    def wait(self, timeout_s: float) -> None:
        """Return when a job may have become due, at the latest after ``timeout_s`` seconds.

        PostgreSQL notifies; a SQLite file is watched by its ``data_version``, which costs no disk access.
        """
        if self._database.is_sqlite:
            self._watch_file(timeout_s)
        else:
            self._listen(timeout_s)

    def _watch_file(self, timeout_s: float) -> None:
        ends = time.monotonic() + timeout_s
        with self._database.engine.connect() as connection:
            before = connection.exec_driver_sql("PRAGMA data_version").scalar()
            connection.rollback()
            while (left_s := ends - time.monotonic()) > 0:
                time.sleep(min(_POLL_S, left_s))
                now = connection.exec_driver_sql("PRAGMA data_version").scalar()
                connection.rollback()
                if now != before:
                    return

    def _listen(self, timeout_s: float) -> None:
        with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
            driver = connection.connection.driver_connection
            if driver is not None:
                for _ in driver.notifies(timeout=timeout_s, stop_after=1):
                    pass
            connection.exec_driver_sql(f"UNLISTEN {_CHANNEL}")

    def _any(self, statement: object) -> bool:
        with self._database.read() as session:
            return session.scalar(statement) is not None  # type: ignore[call-overload]


def new_job(session: Session, series: SeriesRow, max_attempts: int, note: Note) -> JobRow:
    """The next run of a series' revision, queued; waiting workers are woken when the transaction ends."""
    run = session.scalar(
        select(func.coalesce(func.max(JobRow.run), 0) + 1).where(
            JobRow.series_instance_uid == series.series_instance_uid, JobRow.revision == series.revision
        )
    )
    row = JobRow(
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=series.study_instance_uid,
        revision=series.revision,
        run=run or 1,
        state=JobState.QUEUED.value,
        attempt=0,
        max_attempts=max_attempts,
        not_before=note.at,
        requested_by=note.actor or "",
        created_at=note.at,
    )
    session.add(row)
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"NOTIFY {_CHANNEL}"))
    return row


def claimed(session: Session, job_id: int, worker: str, *, attempt: int | None = None) -> JobRow:
    """The row of a job that runs and is this worker's.

    Raises:
        StaleState: it is not.
    """
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None or row.state != JobState.RUNNING.value or row.worker != worker:
        raise StaleState(f"Job {job_id} is not {worker}'s any more.")
    if attempt is not None and row.attempt != attempt:
        raise StaleState(f"Job {job_id} is at attempt {row.attempt}.")
    return row


def _active(session: Session, series_instance_uid: str, revision: int) -> JobRow | None:
    return session.scalar(
        select(JobRow).where(
            JobRow.series_instance_uid == series_instance_uid,
            JobRow.revision == revision,
            JobRow.state.in_([state.value for state in ACTIVE_JOB_STATES]),
        )
    )


def _give_up(session: Session, row: JobRow, cause: str, note: Note) -> None:
    transition(session, row, JobEvent.GIVE_UP, note, cause=cause, finished_at=note.at, lease_expires_at=None)
    _fail_series(session, row, cause, note)


def _fail_series(session: Session, job: JobRow, cause: str, note: Note) -> None:
    """The series of a dead letter has failed, unless it has moved on to another revision."""
    series = session.get(SeriesRow, job.series_instance_uid, populate_existing=True)
    if series is not None and series.revision == job.revision and series.state == SeriesState.QUEUED.value:
        transition(session, series, SeriesEvent.FAIL, note, reason=cause, ended_at=note.at)
