"""What people look at: studies, series, their events, and how the node stands."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from alerts.alert import AlertState
from alerts.delivery import DeliveryState
from analysis.series.verdicts import Rule, Screening
from db.commitment import CommitmentState
from db.errors import StaleState
from db.job import JobState
from db.rows import AssociationRow, EventRow, JobRow, SeriesRow, StudyRow
from db.series_state import SeriesState
from db.store.conversion import event_of, from_json, series_of
from db.store.counts import counts_of
from db.store.lookup import first_of_states, found_uids
from db.store.room import Room
from db.values import SeriesRecord, Status, StoredEvent, StudyRecord

__all__ = ["SeriesReading", "Studies", "read_status"]

_UNJUDGED = (Rule.READABLE, Rule.SCREENING)
"""What excludes a series that no rule could be applied to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Studies(Room):
    """Studies."""

    def list(
        self, *, since: datetime | None = None, patient: str | None = None, limit: int | None = None
    ) -> tuple[StudyRecord, ...]:
        """Studies, the last received first."""
        statement = select(StudyRow).order_by(StudyRow.last_received_at.desc(), StudyRow.study_instance_uid)
        if since is not None:
            statement = statement.where(StudyRow.last_received_at >= since)
        if patient is not None:
            statement = statement.where(StudyRow.patient_id == patient)
        with self.database.read() as session:
            return _studies(session, session.scalars(statement.limit(limit)).all())

    def get(self, study_instance_uid: str) -> StudyRecord | None:
        """The study, if there is one."""
        with self.database.read() as session:
            row = session.get(StudyRow, study_instance_uid)
            return None if row is None else _studies(session, [row])[0]

    def find(self, part: str, limit: int) -> tuple[str, ...]:
        """The UIDs of studies that begin or end with this text, in order, at most so many; if one is it, that one."""
        with self.database.read() as session:
            return found_uids(session, StudyRow.study_instance_uid, StudyRow.reversed_uid, part, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReading(Room):
    """Series, and what became of each."""

    def list(
        self, *, states: Collection[SeriesState] | None = None, study: str | None = None, limit: int | None = None
    ) -> tuple[SeriesRecord, ...]:
        """Series in these states (none given: in all), the last received first."""
        statement = select(SeriesRow)
        if study is not None:
            statement = statement.where(SeriesRow.study_instance_uid == study)
        newest = (SeriesRow.last_received_at.desc(), SeriesRow.series_instance_uid.desc())
        with self.database.read() as session:
            rows = session.scalars(first_of_states(statement, SeriesRow, states, newest, limit))
            return tuple(series_of(row) for row in rows)

    def get(self, series_instance_uid: str) -> SeriesRecord | None:
        """The series, if there is one."""
        with self.database.read() as session:
            row = session.get(SeriesRow, series_instance_uid)
            return None if row is None else series_of(row)

    def set_aside(self, since: datetime) -> int:
        """How many of the series that came since then are excluded because they could not be read or screened."""
        unjudged = [SeriesRow.reason.startswith(f"{rule}: ", autoescape=True) for rule in _UNJUDGED]
        came = (
            select(func.count())
            .select_from(SeriesRow)
            .where(SeriesRow.state == SeriesState.EXCLUDED, SeriesRow.last_received_at >= since, or_(*unjudged))
        )
        with self.database.read() as session:
            return session.scalar(came) or 0

    def find(self, part: str, limit: int) -> tuple[str, ...]:
        """The UIDs of series that begin or end with this text, in order, at most so many; if one is it, that one."""
        with self.database.read() as session:
            return found_uids(session, SeriesRow.series_instance_uid, SeriesRow.reversed_uid, part, limit)

    def events(self, series_instance_uid: str) -> tuple[StoredEvent, ...]:
        """What happened to the series, its jobs, results, alert and deliveries, in order."""
        with self.database.read() as session:
            rows = session.scalars(
                select(EventRow).where(EventRow.series_instance_uid == series_instance_uid).order_by(EventRow.id)
            )
            return tuple(event_of(row) for row in rows)

    def why(self, series_instance_uid: str) -> Screening | None:
        """Every rule that was applied, the value it saw and the outcome; None before screening.

        Raises:
            StaleState: there is no such series.
        """
        with self.database.read() as session:
            row = _row(session, series_instance_uid)
            return None if row.screening is None else from_json(Screening, row.screening)


def read_status(session: Session) -> Status:
    """How the node stands."""
    counts = counts_of(session)

    def of(kind: str, states: Iterable[StrEnum]) -> dict[str, int]:
        return {state.value: counts.get((kind, state.value), 0) for state in states}

    jobs, deliveries, commitments = (
        of("job", JobState),
        of("delivery", DeliveryState),
        of("commitment", CommitmentState),
    )
    oldest = select(JobRow.created_at).where(JobRow.state == JobState.QUEUED).order_by(JobRow.created_at).limit(1)
    open_associations = select(func.count()).select_from(AssociationRow).where(AssociationRow.closed_at.is_(None))
    last = select(SeriesRow.last_received_at).order_by(SeriesRow.last_received_at.desc()).limit(1)
    return Status(
        series=of("series", SeriesState),
        jobs=jobs,
        alerts=of("alert", AlertState),
        deliveries=deliveries,
        commitments=commitments,
        open_associations=session.scalar(open_associations) or 0,
        dead_letters=jobs[JobState.FAILED] + deliveries[DeliveryState.FAILED] + commitments[CommitmentState.FAILED],
        oldest_queued_at=session.scalar(oldest),
        last_received_at=session.scalar(last),
    )


def _row(session: Session, series_instance_uid: str) -> SeriesRow:
    row = session.get(SeriesRow, series_instance_uid)
    if row is None:
        raise StaleState(f"There is no series {series_instance_uid}.")
    return row


def _studies(session: Session, rows: Collection[StudyRow]) -> tuple[StudyRecord, ...]:
    uids = [row.study_instance_uid for row in rows]
    modalities: dict[str, list[str]] = {uid: [] for uid in uids}
    series = session.execute(
        select(SeriesRow.study_instance_uid, SeriesRow.modality).where(SeriesRow.study_instance_uid.in_(uids))
    )
    for uid, modality in series:
        modalities[uid].append(modality)
    return tuple(
        StudyRecord(
            study_instance_uid=row.study_instance_uid,
            patient_id=row.patient_id,
            accession_number=row.accession_number,
            study_date=row.study_date,
            study_description=row.study_description,
            modalities=tuple(sorted(set(modalities[row.study_instance_uid]))),
            series_count=len(modalities[row.study_instance_uid]),
            first_received_at=row.first_received_at,
            last_received_at=row.last_received_at,
        )
        for row in rows
    )
