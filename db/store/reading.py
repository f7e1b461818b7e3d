"""Looking at what is there: studies, series, and how the node stands."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alerts.alert import AlertState
from alerts.delivery import DeliveryState
from analysis.series.verdicts import Screening
from db.engine import Database
from db.job import JobState
from db.rows import AlertRow, AssociationRow, DeliveryRow, EventRow, JobRow, SeriesRow, StudyRow
from db.series_state import SeriesState
from db.store.records import all_of, event_of, from_json, series_of
from db.values import SeriesRecord, Status, StoredEvent, StudyRecord


class StudyReading:
    """Studies, as an administrator sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, since: datetime | None = None, limit: int | None = None) -> tuple[StudyRecord, ...]:
        """Studies that received something since then, the latest first."""
        statement = select(StudyRow).order_by(StudyRow.last_received_at.desc()).limit(limit)
        if since is not None:
            statement = statement.where(StudyRow.last_received_at >= since)
        with self._database.read() as session:
            return tuple(_study(session, row) for row in session.scalars(statement).all())

    def get(self, study_instance_uid: str) -> StudyRecord | None:
        """One study; None where it is not known."""
        with self._database.read() as session:
            row = session.get(StudyRow, study_instance_uid)
            return None if row is None else _study(session, row)


class SeriesReading:
    """Series, what became of them and why."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self,
        states: Collection[SeriesState] | None = None,
        study: str | None = None,
        limit: int | None = None,
    ) -> tuple[SeriesRecord, ...]:
        """Series in these states (None: in any), of one study if given, the latest first."""
        statement = select(SeriesRow).order_by(SeriesRow.last_received_at.desc()).limit(limit)
        if states is not None:
            statement = statement.where(SeriesRow.state.in_([state.value for state in states]))
        if study is not None:
            statement = statement.where(SeriesRow.study_instance_uid == study)
        with self._database.read() as session:
            return all_of(session.scalars(statement), series_of)

    def get(self, series_instance_uid: str) -> SeriesRecord | None:
        """One series; None where it is not known."""
        with self._database.read() as session:
            row = session.get(SeriesRow, series_instance_uid)
            return None if row is None else series_of(row)

    def why(self, series_instance_uid: str) -> Screening | None:
        """Every rule that was applied to the series at its latest screening; None before the first."""
        with self._database.read() as session:
            row = session.get(SeriesRow, series_instance_uid)
            return None if row is None or row.screening is None else from_json(Screening, row.screening)

    def events(self, series_instance_uid: str) -> tuple[StoredEvent, ...]:
        """Everything that happened to the series, its jobs, alert and deliveries, in order."""
        with self._database.read() as session:
            rows = session.scalars(
                select(EventRow).where(EventRow.series_instance_uid == series_instance_uid).order_by(EventRow.id)
            )
            return all_of(rows, event_of)


def status(database: Database) -> Status:
    """How the node stands; cost: a handful of indexed counts."""
    with database.read() as session:
        jobs = _counts(session, JobRow, [state.value for state in JobState])
        deliveries = _counts(session, DeliveryRow, [state.value for state in DeliveryState])
        return Status(
            series=_counts(session, SeriesRow, [state.value for state in SeriesState]),
            jobs=jobs,
            alerts=_counts(session, AlertRow, [state.value for state in AlertState]),
            deliveries=deliveries,
            open_associations=session.scalar(
                select(func.count()).select_from(AssociationRow).where(AssociationRow.closed_at.is_(None))
            )
            or 0,
            dead_letters=jobs[JobState.FAILED.value] + deliveries[DeliveryState.FAILED.value],
            oldest_queued_at=session.scalar(
                select(func.min(JobRow.created_at)).where(JobRow.state == JobState.QUEUED.value)
            ),
            last_received_at=session.scalar(select(func.max(SeriesRow.last_received_at))),
        )


def _counts(
    session: Session, table: type[JobRow | SeriesRow | AlertRow | DeliveryRow], states: list[str]
) -> dict[str, int]:
    found = dict(session.execute(select(table.state, func.count()).group_by(table.state)).tuples().all())
    return {state: found.get(state, 0) for state in states}


def _study(session: Session, row: StudyRow) -> StudyRecord:
    modalities = session.scalars(
        select(SeriesRow.modality).where(SeriesRow.study_instance_uid == row.study_instance_uid)
    ).all()
    return StudyRecord(
        study_instance_uid=row.study_instance_uid,
        patient_id=row.patient_id,
        accession_number=row.accession_number,
        study_date=row.study_date,
        study_description=row.study_description,
        modalities=tuple(sorted(set(modalities))),
        series_count=len(modalities),
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
    )
