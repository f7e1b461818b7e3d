"""Requeue: which series can run again, why others cannot, and the new jobs."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, union_all
from sqlalchemy.orm import Session

from analysis.series.verdicts import Screening
from db.actor import Actor
from db.errors import StaleState
from db.job import Job, JobPriority
from db.rows import JobRow, ResultRow, SeriesRow, StudyRow
from db.series_state import SERIES_TRANSITIONS, SeriesEvent, SeriesState
from db.store.conversion import to_json
from db.store.jobs import COMPLETION, queue_job
from db.store.room import Room, active_job, locked_series, stop_active_job
from db.store.transitions import Note, transition
from db.values import RequeueCandidate, RequeueFilter

__all__ = ["Requeue"]

DEFAULT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue(Room):
    """Another run of a series at its revision."""

    def select(self, chosen: RequeueFilter) -> tuple[RequeueCandidate, ...]:
        """The series that fit the filter, each with why it cannot run again, if so."""
        statement = select(SeriesRow).order_by(SeriesRow.first_received_at, SeriesRow.series_instance_uid)
        if chosen.study is not None:
            statement = statement.where(SeriesRow.study_instance_uid == chosen.study)
        if chosen.series is not None:
            statement = statement.where(SeriesRow.series_instance_uid == chosen.series)
        if chosen.patient is not None:
            statement = statement.join(StudyRow, StudyRow.study_instance_uid == SeriesRow.study_instance_uid).where(
                StudyRow.patient_id == chosen.patient
            )
        if chosen.failed:
            statement = statement.where(SeriesRow.state == SeriesState.FAILED)
        if chosen.since is not None:
            statement = statement.where(SeriesRow.last_received_at >= chosen.since)
        if chosen.model_version is not None:
            statement = statement.where(_has_result(_made_by(chosen.model_version)))
        if chosen.not_model_version is not None:
            statement = statement.where(_has_result(*_made_by_others(chosen.not_model_version)))
        with self.database.read() as session:
            return tuple(
                RequeueCandidate(
                    series_instance_uid=row.series_instance_uid,
                    revision=row.revision,
                    refusal=_refusal(session, row),
                )
                for row in session.scalars(statement).all()
            )

    def apply(self, candidates: Iterable[RequeueCandidate], who: str) -> tuple[Job, ...]:
        """A new job for each candidate that was not refused; all or none.

        Raises:
            StaleState: one of them cannot run any more, and why.
        """
        note = Note(at=self.clock(), actor=Actor.user(who))
        accepted = sorted({one.series_instance_uid: one for one in candidates if one.refusal is None}.items())
        with self.database.write() as session:
            return tuple(_queue(session, one, note) for _, one in accepted)

    def rescreened(self, series_instance_uid: str, revision: int, screening: Screening) -> Job:
        """A new job in place of one that waits or runs, or beside the result in force, which stands until it succeeds.

        Raises:
            StaleState: the series is at another revision, or neither queued nor analysed.
        """
        note = Note(at=self.clock(), actor=COMPLETION, detail="the study has another context")
        with self.database.write() as session:
            series = locked_series(session, series_instance_uid)
            if series.revision != revision or series.state not in {SeriesState.QUEUED, SeriesState.ANALYSED}:
                raise StaleState(f"Series {series_instance_uid} is {series.state} at revision {series.revision}.")
            stop_active_job(session, series_instance_uid, note)
            series.screening = to_json(screening)
            series.profile = screening.profile.value if screening.profile else None
            session.flush()
            if series.state == SeriesState.ANALYSED:
                transition(session, series, SeriesEvent.REQUEUE, note, reason=None, ended_at=None)
            return queue_job(session, series, JobPriority.FRESH, _attempts(session, series), note)


def _queue(session: Session, candidate: RequeueCandidate, note: Note) -> Job:
    series = locked_series(session, candidate.series_instance_uid)
    if series.revision != candidate.revision:
        raise StaleState(f"Series {series.series_instance_uid} is at revision {series.revision} by now.")
    if refusal := _refusal(session, series):
        raise StaleState(f"Series {series.series_instance_uid}: {refusal}.")
    transition(session, series, SeriesEvent.REQUEUE, note, reason=None, ended_at=None)
    return queue_job(session, series, JobPriority.RERUN, _attempts(session, series), note)


def _attempts(session: Session, series: SeriesRow) -> int:
    """As many attempts as the last job of the series had."""
    last = select(JobRow.max_attempts).where(JobRow.series_instance_uid == series.series_instance_uid)
    return session.scalar(last.order_by(JobRow.id.desc()).limit(1)) or DEFAULT_ATTEMPTS


def _has_result(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """The series has a result in force, and one of these holds of it."""
    fitting = [
        select(ResultRow.series_instance_uid).where(ResultRow.superseded_at.is_(None), condition)
        for condition in conditions
    ]
    return SeriesRow.series_instance_uid.in_(union_all(*fitting) if len(fitting) > 1 else fitting[0])


def _made_by(wanted: str) -> ColumnElement[bool]:
    """The result is by this version, of any model or, written ``NAME@VERSION``, of the one named."""
    name, _, version = wanted.rpartition("@")
    by_version = ResultRow.model_version == version
    return by_version & (ResultRow.model_name == name) if name else by_version


def _made_by_others(wanted: str) -> tuple[ColumnElement[bool], ...]:
    """The result is not by it: what comes before and after it in the index of models, each a range of its own."""
    name, _, version = wanted.rpartition("@")
    others = (ResultRow.model_version < version, ResultRow.model_version > version)
    if not name:
        return others
    same = ResultRow.model_version == version
    return (*others, same & (ResultRow.model_name < name), same & (ResultRow.model_name > name))


def _refusal(session: Session, series: SeriesRow) -> str | None:
    """Why the series cannot run again."""
    state = SeriesState(series.state)
    if state is SeriesState.RECEIVING:
        return "it is still being received"
    if state is SeriesState.COMPLETE:
        return "it waits for screening, and will be queued by itself"
    job = active_job(session, series.series_instance_uid)
    if job is not None:
        return f"job {job.id} of it is {job.state}"
    if (state, SeriesEvent.REQUEUE) not in SERIES_TRANSITIONS:
        return f"it is {state.value}"
    if series.instances_removed_at is not None:
        return "its instances were removed by retention"
    return None
