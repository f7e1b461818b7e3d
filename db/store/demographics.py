"""Whose a study is: the newest instance that says so decides, and a correction is an event.

A patient is who has the same Patient ID of the same issuer (PS3.3 C.7.1.1). A birth date or a sex that contradicts
tells that one ID was given to two people, or that somebody was taken for another: nothing is compared then.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from db.actor import Actor
from db.rows import SeriesRow, StudyRow
from db.store.transitions import Note, record_event
from db.values import ReceivedInstance

__all__ = ["contradict", "note_demographics", "of_patient", "of_patients"]


def note_demographics(session: Session, instances: Iterable[ReceivedInstance], now: datetime) -> None:
    """Take over what new instances say of the patients of their studies."""
    newest: dict[str, ReceivedInstance] = {}
    for one in sorted(instances, key=lambda one: one.received_at):
        if one.patient_id.strip():
            newest[one.study_instance_uid] = one
    if not newest:
        return
    for study in session.scalars(
        select(StudyRow).where(StudyRow.study_instance_uid.in_(newest)).order_by(StudyRow.study_instance_uid)
    ).all():
        _take_over(session, study, newest[study.study_instance_uid], now)


def _take_over(session: Session, study: StudyRow, instance: ReceivedInstance, now: datetime) -> None:
    """The study is this patient's; a text that the instance lacks says nothing about the same patient."""
    same = instance.patient_id == study.patient_id
    told = {
        "patient_id": instance.patient_id,
        "issuer_of_patient_id": instance.issuer_of_patient_id or (study.issuer_of_patient_id if same else ""),
        "patient_birth_date": instance.patient_birth_date or (study.patient_birth_date if same else ""),
        "patient_sex": instance.patient_sex or (study.patient_sex if same else ""),
    }
    changed = [name for name, value in told.items() if value != getattr(study, name)]
    if not changed:
        return
    for name in changed:
        setattr(study, name, told[name])
    session.flush()
    by = Note(at=now, actor=Actor.peer(instance.calling_ae_title), detail=f"changed: {', '.join(changed)}")
    uid = study.study_instance_uid
    record_event(session, "study", uid, "demographics_changed", by, series=instance.series_instance_uid)


def contradict(studies: Sequence[StudyRow]) -> bool:
    """Whether studies under one Patient ID tell of more than one person."""
    return any(
        len({value for one in studies if (value := getattr(one, name))}) > 1
        for name in ("patient_birth_date", "patient_sex")
    )


def of_patient(session: Session, series_instance_uid: str) -> tuple[StudyRow, ...]:
    """The study of the series, and the earlier ones of the same patient that have a date; none where nobody knows."""
    return of_patients(session, [series_instance_uid]).get(series_instance_uid, ())


def of_patients(session: Session, series: Sequence[str]) -> dict[str, tuple[StudyRow, ...]]:
    """``of_patient`` of each series, in one statement; those of whom nobody knows are left out."""
    own, earlier = aliased(StudyRow), aliased(StudyRow)
    rows = session.execute(
        select(SeriesRow.series_instance_uid, own, earlier)
        .join(own, own.study_instance_uid == SeriesRow.study_instance_uid)
        .outerjoin(
            earlier,
            and_(
                earlier.patient_id == own.patient_id,
                earlier.issuer_of_patient_id == own.issuer_of_patient_id,
                earlier.study_date != "",
                earlier.study_date < own.study_date,
            ),
        )
        .where(SeriesRow.series_instance_uid.in_(series), own.study_date != "", func.trim(own.patient_id) != "")
        .order_by(earlier.study_date)
    )
    found: dict[str, tuple[StudyRow, ...]] = {}
    for uid, study, before in rows:
        others = () if before is None else (before,)  # pyright: ignore[reportUnnecessaryComparison] - an outer join
        found[uid] = (*found.get(uid, (study,)), *others)
    return found
