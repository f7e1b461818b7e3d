"""What people type to find an examination: every look is one of an index, and none of them reads a table."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from db.rows import SeriesRow, StudyRow
from db.store.lookup import begins_with, ends_with

__all__ = ["of_series", "of_study"]

_WHOLE = "="


def of_study(session: Session, text: str, *, people: bool) -> Sequence[ColumnElement[bool]]:
    """A study that has the text: any of these.

    It is the beginning of an accession number or a patient ID, or either end of a UID; after ``=`` a whole one. Without
    ``people`` only UIDs are looked through.
    """
    told = (StudyRow.accession_number, StudyRow.patient_id) if people else ()
    if text.startswith(_WHOLE):
        return [column == text.removeprefix(_WHOLE) for column in (*told, StudyRow.study_instance_uid)]
    return [
        *(begins_with(session, column, text) for column in told),
        begins_with(session, StudyRow.study_instance_uid, text),
        ends_with(session, StudyRow.reversed_uid, text),
    ]


def of_series(session: Session, text: str) -> Sequence[ColumnElement[bool]]:
    """A series whose UID begins or ends so; after ``=`` the one that has it."""
    if text.startswith(_WHOLE):
        return [SeriesRow.series_instance_uid == text.removeprefix(_WHOLE)]
    return [
        begins_with(session, SeriesRow.series_instance_uid, text),
        ends_with(session, SeriesRow.reversed_uid, text),
    ]
