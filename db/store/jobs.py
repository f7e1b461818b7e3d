"""The queue: jobs are enqueued, claimed under a lease, renewed, retried, and end; each step is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from analysis.series.verdicts import Screening
from db.actor import Actor
from db.errors import StaleState
from db.job import IMPORTED, Job, JobEvent, JobPriority, JobState
from db.rows import JobRow, SeriesRow
from db.series_state import SeriesEvent, SeriesState
from db.store.conversion import job_of, to_json
from db.store.lookup import first_of_states
from db.store.room import Room, active_job, announce
from db.store.succession import fall_back, locked_with_rejected, reject, told
from db.store.transitions import Note, record_event, transition
from db.store.waiting import Waiter
from db.values import Rejected

__all__ = ["COMPLETION", "Jobs", "owned", "queue_job"]

COMPLETION = Actor.process("completion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs(Room):
    """The durable queue."""

    waiter: Waiter

    def enqueue(
        self,
        series_instance_uid: str,
        revision: int,
        screening: Screening,
        max_attempts: int,
        *,
        actor: Actor = COMPLETION,
        rejected: Sequence[Rejected] = (),
    ) -> Job:
        """COMPLETE to QUEUED, with its job, in one transaction. Asked twice, the same job is returned.

        ``rejected`` are reconstructions of the same acquisition, which give way once the job has succeeded.

        Raises:
            StaleState: the series is at another revision, or in no such state.
        """
        now = self.clock()
        with self.database.write() as session:
            named = {one.series_instance_uid: one for one in rejected}
            series, others = locked_with_rejected(session, series_instance_uid, named)
            if series.revision != revision:
                raise StaleState(f"Series {series_instance_uid} is at revision {series.revision}, not {revision}.")
            waiting = active_job(session, series_instance_uid)
            if waiting is not None and series.state == SeriesState.QUEUED:
                return job_of(waiting)
            note = Note(at=now, actor=actor)
            transition(
                session,
                series,
                SeriesEvent.ENQUEUE,
                note,
                screening=to_json(screening),
                profile=screening.profile.value if screening.profile else None,
                reason=None,
                rejected_for=None,
                rejection=None,
            )
            job = queue_job(session, series, JobPriority.FRESH, max_attempts, note)
            for uid, one in named.items():
                if uid in others:
                    reject(session, series, others[uid], one, note)
            return job

    def claim(self, worker: str, lease_s: float) -> Job | None:
        """The first job in line that is due, now RUNNING for ``worker``; None where there is none.

        Nobody else gets it: rows that others hold are skipped (PostgreSQL), or writers follow one another (SQLite).
        """
        now = self.clock()
        if self.database.is_sqlite:
            with self.database.read() as session:  # do not take the write lock only to find nothing
                if session.scalar(_due(now)) is None:
                    return None
        with self.database.write() as session:
            job = session.scalar(_due(now).with_for_update(skip_locked=True))
            if job is None:
                return None
            transition(
                session,
                job,
                JobEvent.CLAIM,
                Note(at=now, actor=Actor.process(worker), detail=f"attempt {job.attempt + 1} of {job.max_attempts}"),
                worker=worker,
                attempt=job.attempt + 1,
                lease_expires_at=now + timedelta(seconds=lease_s),
                started_at=job.started_at or now,
                cause=None,
            )
            return job_of(job)

    def heartbeat(self, job_id: int, worker: str, lease_s: float) -> None:
        """Renew the lease.

        Raises:
            StaleState: the job was cancelled, superseded, or lapsed and taken by another.
        """
        with self.database.write() as session:
            renewed = session.scalar(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.state == JobState.RUNNING, JobRow.worker == worker)
                .values(lease_expires_at=self.clock() + timedelta(seconds=lease_s))
                .returning(JobRow.id)
            )
            if renewed is None:
                raise StaleState(f"Job {job_id} is not {worker}'s any more.")

    def fail(self, job: Job, cause: str, *, transient: bool, retry_delay_s: float = 0.0) -> Job:
        """A transient failure waits ``retry_delay_s`` and is tried again, up to the cap; else FAILED, and its series.

        Raises:
            StaleState: it is not this attempt's job any more.
        """
        now = self.clock()
        with self.database.write() as session:
            series, rejected = locked_with_rejected(session, job.series_instance_uid)
            row = owned(session, job, job.worker)
            note = Note(at=now, actor=_worker_of(row), detail=cause)
            if transient and row.attempt < row.max_attempts:
                _retry(session, row, JobEvent.RETRY, note, not_before=now + timedelta(seconds=retry_delay_s))
            else:
                _give_up(session, row, series, rejected, note)
            return job_of(row)

    def release_lapsed(self, now: datetime | None = None) -> tuple[Job, ...]:
        """Take back every job whose worker fell silent: QUEUED again, or FAILED at the cap; those that were moved."""
        moment = now or self.clock()
        with self.database.read() as session:
            lapsed = session.execute(
                select(JobRow.id, JobRow.series_instance_uid).where(
                    JobRow.state == JobState.RUNNING, JobRow.lease_expires_at < moment
                )
            ).all()
        released = [self._release(job_id, series_uid, moment) for job_id, series_uid in lapsed]
        return tuple(job for job in released if job is not None)

    def _release(self, job_id: int, series_instance_uid: str, now: datetime) -> Job | None:
        with self.database.write() as session:
            series, rejected = locked_with_rejected(session, series_instance_uid)
            row = session.scalar(
                select(JobRow)
                .where(JobRow.id == job_id, JobRow.state == JobState.RUNNING, JobRow.lease_expires_at < now)
                .with_for_update()
            )
            if row is None:
                return None
            cause = f"lease lapsed on attempt {row.attempt} of {row.max_attempts}"
            note = Note(at=now, actor=_worker_of(row), detail=cause)
            if row.attempt < row.max_attempts:
                _retry(session, row, JobEvent.LAPSE, note, not_before=now)
            else:
                _give_up(session, row, series, rejected, note)
            return job_of(row)

    def cancel(self, job_id: int, who: str) -> Job:
        """Stop a job that waits or runs; its series is FAILED with that reason, and can be requeued.

        Raises:
            StaleState: it has ended, or there is none.
        """
        now = self.clock()
        with self.database.write() as session:
            uid = session.scalar(select(JobRow.series_instance_uid).where(JobRow.id == job_id))
            if uid is None:
                raise StaleState(f"There is no job {job_id}.")
            series, rejected = locked_with_rejected(session, uid)
            row = session.scalars(select(JobRow).where(JobRow.id == job_id).with_for_update()).one()
            note = Note(at=now, actor=Actor.user(who), detail=f"cancelled by {who}")
            _give_up(session, row, series, rejected, note, event=JobEvent.CANCEL)
            return job_of(row)

    def list(self, states: Collection[JobState] | None = None, limit: int | None = None) -> tuple[Job, ...]:
        """Jobs in these states (none given: in all), the newest first."""
        statement = select(JobRow)
        with self.database.read() as session:
            return tuple(
                job_of(row)
                for row in session.scalars(first_of_states(statement, JobRow, states, (JobRow.id.desc(),), limit))
            )

    def get(self, job_id: int) -> Job | None:
        """The job, if there is one."""
        with self.database.read() as session:
            row = session.get(JobRow, job_id)
            return None if row is None else job_of(row)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the queue may have something, at most ``timeout_s``; whether it may. Early wakes are harmless.

        Raises:
            DatabaseUnavailable: it cannot be reached.
        """
        return self.waiter.wait(timeout_s)


def queue_job(session: Session, series: SeriesRow, priority: JobPriority, max_attempts: int, note: Note) -> Job:
    """Write the next job of the series' revision; the series is QUEUED already. What was imported comes last."""
    if series.calling_ae_title == IMPORTED:
        priority = JobPriority.ARCHIVE
    last_run = session.scalar(
        select(func.max(JobRow.run)).where(
            JobRow.series_instance_uid == series.series_instance_uid, JobRow.revision == series.revision
        )
    )
    row = JobRow(
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=series.study_instance_uid,
        revision=series.revision,
        run=(last_run or 0) + 1,
        priority=priority.value,
        site=series.calling_ae_title,
        turn=_turn(session, priority, series.calling_ae_title),
        state=JobState.QUEUED.value,
        attempt=0,
        max_attempts=max(1, max_attempts),
        not_before=note.at,
        requested_by=note.actor.name,
        created_at=note.at,
    )
    session.add(row)
    session.flush()
    moved = (None, JobState.QUEUED.value)
    record_event(session, "job", row.id, "enqueue", note, series=row.series_instance_uid, moved=moved)
    announce(session)
    return job_of(row)


def owned(session: Session, job: Job, worker: str | None) -> JobRow:
    """The row of a job that ``worker`` still runs in this attempt, locked.

    Raises:
        StaleState: it lapsed, was cancelled, superseded, or is another attempt's.
    """
    row = session.scalar(select(JobRow).where(JobRow.id == job.id).with_for_update())
    if row is None or row.state != JobState.RUNNING or row.worker != worker or row.attempt != job.attempt:
        state = "gone" if row is None else f"{row.state}, attempt {row.attempt}"
        raise StaleState(f"Job {job.id} is {state}; it is not {worker}'s attempt {job.attempt} any more.")
    return row


def _due(now: datetime) -> Select[JobRow]:
    return (
        select(JobRow)
        .where(JobRow.state == JobState.QUEUED, JobRow.not_before <= now)
        .order_by(JobRow.priority, JobRow.turn, JobRow.id)
        .limit(1)
    )


def _turn(session: Session, priority: JobPriority, site: str) -> int:
    """The place in the line of the site's next job: after its last one, and never before who is first in line now.

    So a site that sends a thousand series, and one that sends a single one, are served by turns.
    """
    waiting = (JobRow.state == JobState.QUEUED, JobRow.priority == priority.value)
    first = session.scalar(select(func.min(JobRow.turn)).where(*waiting)) or 0
    last = session.scalar(select(func.max(JobRow.turn)).where(*waiting, JobRow.site == site))
    return first if last is None else max(first, last + 1)


def _worker_of(row: JobRow) -> Actor:
    return Actor.process(row.worker or "worker")


def _retry(session: Session, row: JobRow, event: JobEvent, note: Note, *, not_before: datetime) -> None:
    transition(session, row, event, note, not_before=not_before, lease_expires_at=None, cause=note.detail)
    announce(session)


def _give_up(
    session: Session,
    row: JobRow,
    series: SeriesRow,
    rejected: Mapping[str, SeriesRow],
    note: Note,
    *,
    event: JobEvent = JobEvent.GIVE_UP,
) -> None:
    transition(session, row, event, note, finished_at=note.at, lease_expires_at=None, cause=note.detail)
    reason = told(session, series.series_instance_uid, note.detail or "")
    transition(session, series, SeriesEvent.FAIL, note, reason=reason, ended_at=note.at)
    fall_back(session, series, rejected.values(), note)
