"""The worklist: flagged examinations by page, each with what its line shows, in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, not_, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from analysis.findings import Findings
from db.rows import AlertRow, ResultRow, SeriesRow, StudyRow
from db.store.conversion import alert_of, from_json, series_of
from db.store.lookup import overdue
from db.store.room import Room
from db.store.searching import of_series, of_study
from db.worklist import COUNTED, PAGE, WorklistEntry, WorklistFilter, WorklistPage, WorklistSort

__all__ = ["Worklist"]

_ORDERS: dict[WorklistSort, tuple[tuple[InstrumentedAttribute[Any], ...], bool]] = {
    WorklistSort.PRESSING: ((AlertRow.category, AlertRow.received_at, AlertRow.id), False),
    WorklistSort.DUE: ((AlertRow.due_at, AlertRow.id), False),
    WorklistSort.RAISED: ((AlertRow.id,), True),
    WorklistSort.RECEIVED: ((AlertRow.received_at, AlertRow.id), True),
    WorklistSort.BURDEN: ((AlertRow.burden_percent, AlertRow.id), True),
}
"""The columns of each order, and whether the highest come first. Each has an index, alone and within a state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklist(Room):
    """Flagged examinations as people work through them."""

    def page(
        self,
        chosen: WorklistFilter | None = None,
        *,
        sort: WorklistSort = WorklistSort.PRESSING,
        reverse: bool = False,
        offset: int = 0,
        limit: int = PAGE,
    ) -> WorklistPage:
        """So many entries from this place on, and how many there are."""
        columns, descending = _ORDERS[sort]
        order = [column.desc() if descending != reverse else column.asc() for column in columns]
        with self.database.read() as session:
            conditions = _conditions(session, chosen or WorklistFilter())
            total = _count(session, conditions)
            parts = [(conditions, total)]
            if sort is WorklistSort.PRESSING:
                late = overdue(self.clock())
                waiting = _count(session, [*conditions, late])
                parts = [([*conditions, late], waiting), ([*conditions, not_(late)], total - waiting)]
            entries: list[WorklistEntry] = []
            for part, count in reversed(parts) if reverse else parts:
                wanted = select(AlertRow.id).where(*part)
                page = wanted.order_by(*order).offset(offset).limit(limit - len(entries)).subquery()
                lines = _lines().join(page, page.c.id == AlertRow.id).order_by(*order)
                entries += [_entry(*line) for line in session.execute(lines)]
                offset = max(0, offset - count)
            return WorklistPage(entries=tuple(entries), total=total)

    def get(self, alert_id: int) -> WorklistEntry | None:
        """The entry of one alert, if there is one."""
        with self.database.read() as session:
            line = session.execute(_lines().where(AlertRow.id == alert_id)).one_or_none()
            return None if line is None else _entry(*line)


def _count(session: Session, conditions: Sequence[ColumnElement[bool]]) -> int:
    wanted = select(AlertRow.id).where(*conditions).limit(COUNTED).subquery()
    return session.scalar(select(func.count()).select_from(wanted)) or 0


def _lines() -> Select[AlertRow, dict[str, Any], SeriesRow, StudyRow]:
    return (
        select(AlertRow, ResultRow.findings, SeriesRow, StudyRow)
        .join(ResultRow, ResultRow.id == AlertRow.result_id)
        .join(SeriesRow, SeriesRow.series_instance_uid == AlertRow.series_instance_uid)
        .join(StudyRow, StudyRow.study_instance_uid == AlertRow.study_instance_uid)
    )


def _entry(alert: AlertRow, findings: dict[str, Any], series: SeriesRow, study: StudyRow) -> WorklistEntry:
    return WorklistEntry(
        alert=alert_of(alert),
        findings=from_json(Findings, findings),
        series=series_of(series),
        study_date=study.study_date,
        study_description=study.study_description,
        patient_id=study.patient_id,
        accession_number=study.accession_number,
    )


def _conditions(session: Session, chosen: WorklistFilter) -> list[ColumnElement[bool]]:
    exact = (
        (AlertRow.incidental, chosen.incidental),
        (AlertRow.profile, chosen.profile),
        (AlertRow.quality, chosen.quality),
        (AlertRow.calling_ae_title, chosen.calling_ae_title),
    )
    conditions: list[ColumnElement[bool]] = [column == value for column, value in exact if value is not None]
    for column, values in ((AlertRow.state, chosen.states), (AlertRow.category, chosen.categories)):
        if values:
            conditions.append(column.in_(sorted(values)))
    if chosen.received_since is not None:
        conditions.append(AlertRow.received_at >= chosen.received_since)
    if chosen.received_before is not None:
        conditions.append(AlertRow.received_at < chosen.received_before)
    if chosen.found:
        conditions.append(_found(session, chosen.found, people=chosen.people))
    return conditions


def _found(session: Session, text: str, *, people: bool) -> ColumnElement[bool]:
    """Of a study or series that has the text."""
    studies = [
        select(StudyRow.study_instance_uid).where(condition) for condition in of_study(session, text, people=people)
    ]
    series = [select(SeriesRow.study_instance_uid).where(condition) for condition in of_series(session, text)]
    return AlertRow.study_instance_uid.in_(union(*studies, *series))
