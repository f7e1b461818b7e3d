"""Running series again, on an administrator's word."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import exists, select

from db.engine import Database
from db.errors import StaleState
from db.job import Job
from db.rows import JobRow, ResultRow, SeriesRow, StudyRow
from db.series_state import SeriesEvent, SeriesState
from db.store.intake import series_at
from db.store.jobs import new_job
from db.store.records import job_of
from db.store.transitions import Note, transition
from db.values import RequeueCandidate, RequeueFilter

_DEFAULT_MAX_ATTEMPTS = 3
_REFUSALS = {
    SeriesState.RECEIVING.value: "it is still being received; it is analysed when it is complete",
    SeriesState.COMPLETE.value: "it is complete and about to be screened",
    SeriesState.QUEUED.value: "a job of it is queued or running already",
}


class Requeue:
    """Choosing series to run again, and queueing them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def select(self, which: RequeueFilter) -> tuple[RequeueCandidate, ...]:
        """The series that the filter chooses, each with why it cannot run again, if it cannot."""
        statement = (
            select(SeriesRow)
            .join(StudyRow, StudyRow.study_instance_uid == SeriesRow.study_instance_uid)
            .order_by(SeriesRow.last_received_at, SeriesRow.series_instance_uid)
        )
        if which.study is not None:
            statement = statement.where(SeriesRow.study_instance_uid == which.study)
        if which.series is not None:
            statement = statement.where(SeriesRow.series_instance_uid == which.series)
        if which.patient is not None:
            statement = statement.where(StudyRow.patient_id == which.patient)
        if which.failed:
            statement = statement.where(SeriesRow.state == SeriesState.FAILED.value)
        if which.since is not None:
            statement = statement.where(SeriesRow.last_received_at >= which.since)
        if which.model_version is not None:
            statement = statement.where(
                exists().where(
                    ResultRow.series_instance_uid == SeriesRow.series_instance_uid,
                    ResultRow.superseded_at.is_(None),
                    ResultRow.model_version == which.model_version,
                )
            )
        with self._database.read() as session:
            return tuple(
                RequeueCandidate(
                    series_instance_uid=row.series_instance_uid, revision=row.revision, refusal=_refusal(row)
                )
                for row in session.scalars(statement)
            )

    def apply(self, candidates: Sequence[RequeueCandidate], who: str) -> tuple[Job, ...]:
        """Queue the candidates that are not refused, in one transaction; results in force stay until newer ones come.

        Raises:
            StaleState: one of them has moved on since it was chosen. Nothing is queued.
        """
        note = Note(at=datetime.now(UTC), actor=f"requeue:{who}")
        jobs: list[Job] = []
        with self._database.write() as session:
            for candidate in candidates:
                if candidate.refusal is not None:
                    continue
                row = series_at(session, candidate.series_instance_uid, candidate.revision)
                if (refusal := _refusal(row)) is not None:
                    raise StaleState(f"Series {row.series_instance_uid}: {refusal}.")
                transition(session, row, SeriesEvent.REQUEUE, note, reason=None, ended_at=None)
                cap = session.scalar(
                    select(JobRow.max_attempts)
                    .where(JobRow.series_instance_uid == row.series_instance_uid)
                    .order_by(JobRow.id.desc())
                    .limit(1)
                )
                jobs.append(job_of(new_job(session, row, cap or _DEFAULT_MAX_ATTEMPTS, note)))
        return tuple(jobs)


def _refusal(row: SeriesRow) -> str | None:
    if row.instances_removed_at is not None:
        return f"its instances were removed by retention on {row.instances_removed_at:%Y-%m-%d}; send it again"
    return _REFUSALS.get(row.state)
