"""Every series with its study, by page: for who looks for what became of an examination."""

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import CompoundSelect, func, select, union
from sqlalchemy.orm import Session

from db.rows import AlertRow, ResultRow, SeriesRow, StudyRow
from db.series_state import SeriesState
from db.store.conversion import series_of
from db.store.room import Room
from db.store.searching import of_series, of_study
from db.values import SeriesRecord

__all__ = ["Examination", "Examinations"]

COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A series, its study, and what came of it. ``patient_id`` and ``accession_number`` are identifying."""

    series: SeriesRecord
    calling_ae_title: str
    study_description: str
    study_date: str
    patient_id: str = field(repr=False)
    accession_number: str = field(repr=False)
    burden_percent: float | None
    alert_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examinations(Room):
    """Series as people look for them."""

    def page(
        self,
        *,
        states: Collection[SeriesState] = (),
        found: str = "",
        people: bool = True,
        offset: int = 0,
        limit: int = 50,
    ) -> tuple[tuple[Examination, ...], int]:
        """Series in these states (none given: in all), the last received first; and how many, up to ten thousand.

        ``found`` and ``people`` are those of `WorklistFilter`.
        """
        with self.database.read() as session:
            wanted = select(SeriesRow.series_instance_uid)
            if states:
                wanted = wanted.where(SeriesRow.state.in_(sorted(states)))
            if found:
                wanted = wanted.where(SeriesRow.series_instance_uid.in_(_found(session, found, people=people)))
            order = (SeriesRow.last_received_at.desc(), SeriesRow.series_instance_uid)
            chosen = wanted.order_by(*order).offset(offset).limit(limit).subquery()
            rows = session.execute(
                select(SeriesRow, StudyRow, ResultRow.burden_percent, AlertRow.id)
                .join(chosen, chosen.c.series_instance_uid == SeriesRow.series_instance_uid)
                .join(StudyRow, StudyRow.study_instance_uid == SeriesRow.study_instance_uid)
                .outerjoin(
                    ResultRow,
                    (ResultRow.series_instance_uid == SeriesRow.series_instance_uid)
                    & ResultRow.superseded_at.is_(None),
                )
                .outerjoin(
                    AlertRow,
                    (AlertRow.study_instance_uid == SeriesRow.study_instance_uid) & ResultRow.alert.is_not(None),
                )
                .order_by(*order)
            )
            found_ones = tuple(
                Examination(
                    series=series_of(series),
                    calling_ae_title=series.calling_ae_title,
                    study_description=study.study_description,
                    study_date=study.study_date,
                    patient_id=study.patient_id,
                    accession_number=study.accession_number,
                    burden_percent=burden,
                    alert_id=alert,
                )
                for series, study, burden, alert in rows
            )
            total = session.scalar(select(func.count()).select_from(wanted.limit(COUNTED).subquery()))
            return found_ones, total or 0

    def series_of(self, *, study: str = "", accession: str = "") -> tuple[tuple[str, str], ...]:
        """Series and study of what has this very study UID or accession number, the last received first; at most 50."""
        if not (study or accession):
            return ()
        which = StudyRow.study_instance_uid == study if study else StudyRow.accession_number == accession
        statement = (
            select(SeriesRow.series_instance_uid, StudyRow.study_instance_uid)
            .join(StudyRow, StudyRow.study_instance_uid == SeriesRow.study_instance_uid)
            .where(which)
            .order_by(SeriesRow.last_received_at.desc(), SeriesRow.series_instance_uid)
        )
        with self.database.read() as session:
            return tuple((series, one) for series, one in session.execute(statement.limit(50)))

    def alerts_of(self, *, study: str = "", accession: str = "") -> tuple[int, ...]:
        """The alerts of a study by its UID or accession number, the newest first."""
        statement = (
            select(AlertRow.id)
            .join(StudyRow, StudyRow.study_instance_uid == AlertRow.study_instance_uid)
            .order_by(AlertRow.id.desc())
        )
        if study:
            statement = statement.where(StudyRow.study_instance_uid == study)
        if accession:
            statement = statement.where(StudyRow.accession_number == accession)
        if not (study or accession):
            return ()
        with self.database.read() as session:
            return tuple(session.scalars(statement))


def _found(session: Session, text: str, *, people: bool) -> CompoundSelect[str]:
    """The UIDs of series that have the text, or whose study has it."""
    own = select(SeriesRow.series_instance_uid)
    joined = own.join(StudyRow, StudyRow.study_instance_uid == SeriesRow.study_instance_uid)
    return union(
        *(joined.where(condition) for condition in of_study(session, text, people=people)),
        *(own.where(condition) for condition in of_series(session, text)),
    )
