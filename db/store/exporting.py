"""Results with their examinations, page by page: an export of years holds one page in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select

from db.exporting import ExportedResult
from db.rows import ResultRow, SeriesRow, StudyRow
from db.store.conversion import result_of
from db.store.room import Room

__all__ = ["PAGE", "Exporting"]

PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporting(Room):
    """Results in force, for research, registries and the trial of another policy."""

    def results(self, since: datetime, before: datetime) -> Iterator[ExportedResult]:
        """Those that were recorded in this span, the oldest first. One that is superseded meanwhile may be left out."""
        place: tuple[datetime, int] | None = None
        in_order = (
            _whole()
            .where(ResultRow.superseded_at.is_(None), ResultRow.created_at < before)
            .order_by(ResultRow.created_at, ResultRow.id)
            .limit(PAGE)
        )
        while True:
            page = in_order.where(ResultRow.created_at >= (since if place is None else place[0]))
            if place is not None:
                at, number = place
                page = page.where((ResultRow.created_at > at) | (ResultRow.id > number))
            with self.database.read() as session:
                found = [_entry(*row) for row in session.execute(page)]
            yield from found
            if len(found) < PAGE:
                return
            place = found[-1].result.created_at, found[-1].result.id

    def numbers(self, since: datetime, before: datetime) -> list[int]:
        """What numbers the results of this span in force have, in no order; some 40 bytes a result."""
        known = select(ResultRow.id).where(
            ResultRow.superseded_at.is_(None), ResultRow.created_at >= since, ResultRow.created_at < before
        )
        with self.database.read() as session:
            return list(session.scalars(known))

    def numbered(self, numbers: Sequence[int]) -> Iterator[ExportedResult]:
        """The results with these numbers, in this order. One that is superseded meanwhile is left out."""
        for begin in range(0, len(numbers), PAGE):
            page = numbers[begin : begin + PAGE]
            wanted = _whole().where(ResultRow.superseded_at.is_(None), ResultRow.id.in_(page))
            with self.database.read() as session:
                found = {row[0].id: _entry(*row) for row in session.execute(wanted)}
            yield from (found[number] for number in page if number in found)


def _whole() -> Select[ResultRow, str, StudyRow]:
    return (
        select(ResultRow, SeriesRow.calling_ae_title, StudyRow)
        .join(SeriesRow, SeriesRow.series_instance_uid == ResultRow.series_instance_uid)
        .join(StudyRow, StudyRow.study_instance_uid == ResultRow.study_instance_uid)
    )


def _entry(result: ResultRow, calling_ae_title: str, study: StudyRow) -> ExportedResult:
    return ExportedResult(
        result=result_of(result),
        calling_ae_title=calling_ae_title,
        study_date=study.study_date,
        study_description=study.study_description,
        patient_id=study.patient_id,
        issuer_of_patient_id=study.issuer_of_patient_id,
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
    )
