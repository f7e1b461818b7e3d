"""Instances into the index, many in one commit: what is new, what is there already, what begins a revision."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.orm import Session

from db.errors import StoreError
from db.rows import InstanceRow, SeriesRow, StudyRow
from db.series_state import SeriesEvent, SeriesState
from db.store.conversion import cleaned
from db.store.room import inserting, stop_active_job
from db.store.transitions import Note, record_event, transition
from db.values import ReceivedInstance, Recorded, RecordedKind

__all__ = ["record"]

_Key = tuple[str, str, str]


def record(session: Session, instances: Sequence[ReceivedInstance], now: datetime) -> tuple[Recorded, ...]:
    """Index the instances, in their order; the same one twice in a batch is a duplicate the second time."""
    series = _series_rows(session, instances, now)
    stored, known_sops = _stored(session, instances)
    fresh: dict[_Key, dict[str, Any]] = {}
    kinds: list[RecordedKind] = []
    changed: set[str] = set()
    restored: set[str] = set()
    for instance in instances:
        key = _key(instance)
        kind = RecordedKind.DUPLICATE
        if (old := stored.get(key)) is not None:
            if old.removed_at is not None:
                old.removed_at = None
                old.path = instance.path
                restored.add(instance.series_instance_uid)
                kind = RecordedKind.NEW
        elif key not in fresh:
            seen = (key[0], key[1]) in known_sops
            kind = RecordedKind.NEW_VERSION if seen else RecordedKind.NEW
            known_sops.add((key[0], key[1]))
            fresh[key] = _columns(instance)
            changed.add(instance.series_instance_uid)
            if seen:
                note = Note(at=now, detail="same SOP Instance UID, other bytes; the newest is analysed")
                record_event(session, "instance", instance.sop_instance_uid, "new_version", note, series=key[0])
        kinds.append(kind)
    ids = {key: row.id for key, row in stored.items()}
    if fresh:
        statement = insert(InstanceRow).returning(
            InstanceRow.id, InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid, InstanceRow.sha256
        )
        ids |= {(row[1], row[2], row[3]): row[0] for row in session.execute(statement, list(fresh.values()))}
    session.flush()
    for uid in sorted(changed | restored):
        arrivals = [one for one in instances if one.series_instance_uid == uid]
        last = max(one.received_at for one in arrivals)
        if uid not in changed:
            _note_restored(session, series[uid], last)
            continue
        new_sops = sum(
            kind is RecordedKind.NEW and one.series_instance_uid == uid and _key(one) in fresh
            for kind, one in zip(kinds, instances, strict=True)
        )
        _note_arrival(session, series[uid], last, new_sops, now)
    _note_studies(session, [one for one in instances if one.series_instance_uid in changed | restored], series)
    return tuple(
        Recorded(
            kind=kind,
            instance_id=ids[_key(one)],
            series_instance_uid=one.series_instance_uid,
            revision=series[one.series_instance_uid].revision,
            path=stored[_key(one)].path if _key(one) in stored else fresh[_key(one)]["path"],
        )
        for kind, one in zip(kinds, instances, strict=True)
    )


def _key(instance: ReceivedInstance) -> _Key:
    return instance.series_instance_uid, instance.sop_instance_uid, instance.sha256


def _series_rows(session: Session, instances: Sequence[ReceivedInstance], now: datetime) -> dict[str, SeriesRow]:
    """The rows of all series, made where missing, locked in one order so that two receivers never cross."""
    firsts: dict[str, ReceivedInstance] = {}
    for one in instances:
        firsts.setdefault(one.series_instance_uid, one)
    wanted = select(SeriesRow).where(SeriesRow.series_instance_uid.in_(sorted(firsts)))
    wanted = wanted.order_by(SeriesRow.series_instance_uid).with_for_update()
    found = {row.series_instance_uid: row for row in session.scalars(wanted)}
    missing = [firsts[uid] for uid in sorted(firsts) if uid not in found]
    if missing:
        studies = {one.study_instance_uid: _study_columns(one) for one in missing}
        session.execute(
            inserting(session, StudyRow).values([studies[uid] for uid in sorted(studies)]).on_conflict_do_nothing()
        )
        made = session.scalars(
            inserting(session, SeriesRow)
            .values([_series_columns(one) for one in missing])
            .on_conflict_do_nothing()
            .returning(SeriesRow.series_instance_uid)
        ).all()
        for uid in sorted(made):
            moved = (None, SeriesState.RECEIVING.value)
            record_event(session, "series", uid, "receive", Note(at=now), series=uid, moved=moved)
        found = {row.series_instance_uid: row for row in session.scalars(wanted)}
    if len(found) != len(firsts):
        raise StoreError("A series could not be recorded.")
    return found


def _stored(
    session: Session, instances: Sequence[ReceivedInstance]
) -> tuple[Mapping[_Key, InstanceRow], set[tuple[str, str]]]:
    """The versions that the index has of these instances, and which instances it knows at all."""
    pairs = sorted({(one.series_instance_uid, one.sop_instance_uid) for one in instances})
    rows = session.scalars(
        select(InstanceRow).where(tuple_(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid).in_(pairs))
    ).all()
    by_key = {(row.series_instance_uid, row.sop_instance_uid, row.sha256): row for row in rows}
    return by_key, {(row.series_instance_uid, row.sop_instance_uid) for row in rows}


def _note_restored(session: Session, series: SeriesRow, last: datetime) -> None:
    """Retention had removed files and the same bytes came again: no new revision, and their time begins anew.

    The series can be requeued once every instance is there again.
    """
    there = select(InstanceRow.sop_instance_uid).where(
        InstanceRow.series_instance_uid == series.series_instance_uid, InstanceRow.removed_at.is_(None)
    )
    missing = select(InstanceRow.id).where(
        InstanceRow.series_instance_uid == series.series_instance_uid, InstanceRow.sop_instance_uid.not_in(there)
    )
    if session.scalar(missing.limit(1)) is None:
        series.instances_removed_at = None
    series.last_received_at = max(last, series.last_received_at)
    session.flush()


def _note_arrival(session: Session, series: SeriesRow, last: datetime, new_sops: int, now: datetime) -> None:
    changes: dict[str, Any] = {
        "instance_count": series.instance_count + new_sops,
        "last_received_at": max(last, series.last_received_at),
        "instances_removed_at": None,
    }
    if series.state == SeriesState.RECEIVING:
        session.execute(
            update(SeriesRow).where(SeriesRow.series_instance_uid == series.series_instance_uid).values(**changes)
        )
    else:
        revision = series.revision + 1
        note = Note(at=now, detail=f"revision {revision} begins")
        stop_active_job(session, series.series_instance_uid, note)
        transition(
            session,
            series,
            SeriesEvent.LATE_INSTANCE,
            note,
            revision=revision,
            completed_at=None,
            ended_at=None,
            reason=None,
            **changes,
        )


def _note_studies(session: Session, arrivals: Sequence[ReceivedInstance], series: Mapping[str, SeriesRow]) -> None:
    """The studies' last arrival, in one order, so that two receivers never wait for each other."""
    lasts: dict[str, datetime] = {}
    for one in arrivals:
        study = series[one.series_instance_uid].study_instance_uid
        lasts[study] = max(one.received_at, lasts.get(study, one.received_at))
    for study, last in sorted(lasts.items()):
        session.execute(
            update(StudyRow)
            .where(StudyRow.study_instance_uid == study, StudyRow.last_received_at < last)
            .values(last_received_at=last)
        )


def _study_columns(instance: ReceivedInstance) -> dict[str, Any]:
    header = instance.header
    return {
        "study_instance_uid": instance.study_instance_uid,
        "patient_id": instance.patient_id,
        "accession_number": str(header.get("accession_number") or ""),
        "study_date": str(header.get("study_date") or ""),
        "study_description": str(header.get("study_description") or ""),
        "first_received_at": instance.received_at,
        "last_received_at": instance.received_at,
    }


def _series_columns(instance: ReceivedInstance) -> dict[str, Any]:
    header = instance.header
    return {
        "series_instance_uid": instance.series_instance_uid,
        "study_instance_uid": instance.study_instance_uid,
        "state": SeriesState.RECEIVING.value,
        "revision": 1,
        "modality": instance.modality,
        "series_description": str(header.get("series_description") or ""),
        "frame_of_reference_uid": header.get("frame_of_reference_uid"),
        "instance_count": 0,
        "first_received_at": instance.received_at,
        "last_received_at": instance.received_at,
    }


def _columns(instance: ReceivedInstance) -> dict[str, Any]:
    position = instance.header.get("slice_position_mm")
    header = {name: value for name, value in instance.header.items() if name != "accession_number"}
    return {
        "series_instance_uid": instance.series_instance_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "path": instance.path,
        "size_bytes": instance.size_bytes,
        "sha256": instance.sha256,
        "calling_ae_title": instance.calling_ae_title,
        "called_ae_title": instance.called_ae_title,
        "address": instance.address,
        "association_id": instance.association_id,
        "received_at": instance.received_at,
        "removed_at": None,
        "slice_position_mm": float(position) if isinstance(position, int | float) else None,
        "uid_warning": instance.uid_warning,
        "header": cleaned(header),
    }
