"""Instances into the index, many in one commit: what is new, what is there already, what begins a revision.

Every instance comes this way, so its statements are built once, on tables and not on mapped rows: SQLAlchemy needs
more time to build a statement than the database needs to execute it. What happens to a series seldom goes through rows.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from db.actor import Actor
from db.errors import StoreError
from db.job import IMPORTED
from db.rows import AssociationSeriesRow, InstanceRow, ResentVersionRow, SeriesRow, StudyRow
from db.series_key import marked_key
from db.series_state import SeriesEvent, SeriesState
from db.store.demographics import note_demographics
from db.store.room import inserting, locked_series, stop_active_job
from db.store.transitions import Note, record_event, transition
from db.values import ReceivedInstance, Recorded, RecordedKind

__all__ = ["begin_revision", "record"]

_Key = tuple[str, str, str]
_WITHOUT_RESULT = frozenset({SeriesState.COMPLETE, SeriesState.EXCLUDED, SeriesState.FAILED})

_STUDIES, _SERIES, _INSTANCES = (cast("Table", row.__table__) for row in (StudyRow, SeriesRow, InstanceRow))

_LOCK_SERIES = (
    select(
        _SERIES.c.series_instance_uid,
        _SERIES.c.study_instance_uid,
        _SERIES.c.state,
        _SERIES.c.revision,
        _SERIES.c.instance_count,
        _SERIES.c.last_received_at,
        _SERIES.c.instances_removed_at,
        _SERIES.c.lacking,
        _SERIES.c.calling_ae_title,
    )
    .where(_SERIES.c.series_instance_uid.in_(bindparam("uids", expanding=True)))
    .order_by(_SERIES.c.series_instance_uid)
    .with_for_update()
)
_FIND_VERSIONS = select(
    _INSTANCES.c.series_instance_uid,
    _INSTANCES.c.sop_instance_uid,
    _INSTANCES.c.sha256,
    _INSTANCES.c.id,
    _INSTANCES.c.path,
    _INSTANCES.c.removed_at,
).where(
    # by pairs SQLite would read the whole table: it takes no list of several columns to an index
    _INSTANCES.c.series_instance_uid.in_(bindparam("series", expanding=True)),
    _INSTANCES.c.sop_instance_uid.in_(bindparam("instances", expanding=True)),
)
_INSERT_INSTANCES = insert(_INSTANCES).returning(
    _INSTANCES.c.series_instance_uid, _INSTANCES.c.sop_instance_uid, _INSTANCES.c.sha256, _INSTANCES.c.id
)
_RESTORE_INSTANCE = (
    update(_INSTANCES)
    .where(_INSTANCES.c.id == bindparam("restored_id"))
    .values(path=bindparam("restored_path"), removed_at=None)
)
_NOTE_ARRIVAL = (
    update(_SERIES)
    .where(_SERIES.c.series_instance_uid == bindparam("series"))
    .values(
        instance_count=bindparam("count"),
        last_received_at=bindparam("last"),
        calling_ae_title=bindparam("calling"),
    )
)
_THERE = _INSTANCES.alias()
_NOTE_WHOLE = (
    update(_SERIES)
    .where(
        _SERIES.c.series_instance_uid.in_(bindparam("uids", expanding=True)),
        ~select(_INSTANCES.c.id)
        .where(
            _INSTANCES.c.series_instance_uid == _SERIES.c.series_instance_uid,
            ~select(_THERE.c.id)
            .where(
                _THERE.c.series_instance_uid == _INSTANCES.c.series_instance_uid,
                _THERE.c.sop_instance_uid == _INSTANCES.c.sop_instance_uid,
                _THERE.c.removed_at.is_(None),
            )
            .exists(),
        )
        .exists(),
    )
    .values(instances_removed_at=None)
)
"""Of every instance that retention had removed a version is on disk again."""
_NOTE_STUDY = (
    update(_STUDIES)
    .where(_STUDIES.c.study_instance_uid == bindparam("study"), _STUDIES.c.last_received_at < bindparam("last"))
    .values(last_received_at=bindparam("last"))
)


def record(session: Session, instances: Sequence[ReceivedInstance], now: datetime) -> tuple[Recorded, ...]:
    """Index the instances, in their order; the same one twice in a batch is a duplicate the second time."""
    connection = session.connection()
    instances, series = _keyed(session, connection, instances, now)
    stored = _stored(connection, instances)
    known_sops = {(uid, sop) for uid, sop, _ in stored}
    on_disk = {(uid, sop) for (uid, sop, _), row in stored.items() if row.removed_at is None}
    held: dict[_Key, str] = {}
    fresh: list[ReceivedInstance] = []
    restored: dict[_Key, dict[str, Any]] = {}
    changed: set[str] = set()
    resent: list[_Key] = []
    gained: Counter[str] = Counter()
    kinds: list[RecordedKind] = []
    for instance in instances:
        key = _key(instance)
        kind = RecordedKind.DUPLICATE
        if (old := stored.get(key)) is not None:
            if old.removed_at is not None and key not in restored:
                restored[key] = {"restored_id": old.id, "restored_path": instance.path}
                kind = RecordedKind.NEW
            held.setdefault(key, old.path if old.removed_at is None else instance.path)
        elif key not in held:
            seen = key[:2] in known_sops
            kind = RecordedKind.NEW_VERSION if seen else RecordedKind.NEW
            known_sops.add(key[:2])
            held[key] = instance.path
            fresh.append(instance)
            if key[:2] in on_disk and series[key[0]].state != SeriesState.RECEIVING:
                resent.append(key)
            else:
                changed.add(key[0])
            if seen:
                note = Note(
                    at=now, actor=_sender(instance), detail="same SOP Instance UID, other bytes; the newest is analysed"
                )
                record_event(session, "instance", instance.sop_instance_uid, "new_version", note, series=key[0])
        if kind is not RecordedKind.DUPLICATE and key[:2] not in on_disk:
            on_disk.add(key[:2])
            gained[key[0]] += 1
        kinds.append(kind)
    _note_associations(session, instances)
    ids = {key: old.id for key, old in stored.items()}
    if restored:
        connection.execute(_RESTORE_INSTANCE, list(restored.values()))
    if fresh:
        ids |= _inserted(session, connection, fresh, resent)
        note_demographics(session, fresh, now)
    revisions = _note_arrivals(
        session,
        connection,
        instances,
        series,
        gained=gained,
        changed=changed,
        restored={uid for uid, _, _ in restored},
        resent={uid for uid, _, _ in resent},
        now=now,
    )
    return tuple(
        Recorded(
            kind=kind,
            instance_id=ids[_key(one)],
            series_instance_uid=one.series_instance_uid,
            revision=revisions[one.series_instance_uid],
            path=held[_key(one)],
        )
        for kind, one in zip(kinds, instances, strict=True)
    )


def _note_associations(session: Session, instances: Sequence[ReceivedInstance]) -> None:
    """Which association brought something of which series."""
    brought = {(one.association_id, one.series_instance_uid) for one in instances if one.association_id is not None}
    if brought:
        pairs = [{"association_id": association, "series_instance_uid": uid} for association, uid in sorted(brought)]
        session.execute(inserting(session, AssociationSeriesRow).values(pairs).on_conflict_do_nothing())


def _inserted(
    session: Session, connection: Connection, fresh: Sequence[ReceivedInstance], resent: Sequence[_Key]
) -> dict[_Key, int]:
    """The ids of the new rows; those of ``resent`` wait to be compared with what is there already."""
    rows = connection.execute(_INSERT_INSTANCES, [_columns(one) for one in fresh])
    ids: dict[_Key, int] = {(row[0], row[1], row[2]): row[3] for row in rows}
    if resent:
        compared = [{"instance_id": ids[key], "series_instance_uid": key[0]} for key in resent]
        session.execute(insert(ResentVersionRow), compared)
    return ids


def _sender(instance: ReceivedInstance) -> Actor:
    return Actor.peer(instance.calling_ae_title)


def _key(instance: ReceivedInstance) -> _Key:
    return instance.series_instance_uid, instance.sop_instance_uid, instance.sha256


def _keyed(
    session: Session, connection: Connection, instances: Sequence[ReceivedInstance], now: datetime
) -> tuple[Sequence[ReceivedInstance], dict[str, Any]]:
    """The instances under the keys of their series, and the locked rows: a UID of two studies names two series."""
    series = _locked_series(session, connection, instances, now)
    strangers = {
        (one.study_instance_uid, one.series_instance_uid)
        for one in instances
        if series[one.series_instance_uid].study_instance_uid != one.study_instance_uid
    }
    if not strangers:
        return instances, series
    keyed = [
        replace(one, series_instance_uid=marked_key(one.series_instance_uid, one.study_instance_uid))
        if (one.study_instance_uid, one.series_instance_uid) in strangers
        else one
        for one in instances
    ]
    marked = [one for one, received in zip(keyed, instances, strict=True) if one is not received]
    return keyed, series | _locked_series(session, connection, marked, now)


def _locked_series(
    session: Session, connection: Connection, instances: Sequence[ReceivedInstance], now: datetime
) -> dict[str, Any]:
    """The rows of all series, made where missing, locked in one order so that two receivers never cross."""
    firsts: dict[str, ReceivedInstance] = {}
    for one in instances:
        firsts.setdefault(one.series_instance_uid, one)
    wanted = {"uids": sorted(firsts)}
    found = {row.series_instance_uid: row for row in connection.execute(_LOCK_SERIES, wanted)}
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
            note = Note(at=now, actor=_sender(firsts[uid]))
            record_event(session, "series", uid, "receive", note, series=uid, moved=moved)
        found = {row.series_instance_uid: row for row in connection.execute(_LOCK_SERIES, wanted)}
    if len(found) != len(firsts):
        raise StoreError("A series could not be recorded.")
    return found


def _stored(connection: Connection, instances: Sequence[ReceivedInstance]) -> dict[_Key, Any]:
    """Every version that the index has of these instances."""
    wanted = {
        "series": sorted({one.series_instance_uid for one in instances}),
        "instances": sorted({one.sop_instance_uid for one in instances}),
    }
    return {(row[0], row[1], row[2]): row for row in connection.execute(_FIND_VERSIONS, wanted)}


def _note_arrivals(
    session: Session,
    connection: Connection,
    instances: Sequence[ReceivedInstance],
    series: Mapping[str, Any],
    *,
    gained: Mapping[str, int],
    changed: Collection[str],
    restored: Collection[str],
    resent: Collection[str],
    now: datetime,
) -> dict[str, int]:
    """What the series and their studies got: their counts and times; the revision of each series afterwards.

    ``gained`` counts the instances of which nothing was on disk, ``changed`` names the series that got something new,
    ``restored`` those of which bytes came again that retention had removed. Such a series begins no new revision
    unless it ended for want of them. ``resent`` are those of which bytes came that have to be compared first.
    """
    lasts: dict[str, datetime] = {}
    senders: dict[str, Actor] = {}
    for one in instances:
        uid = one.series_instance_uid
        senders.setdefault(uid, _sender(one))
        lasts[uid] = max(one.received_at, lasts.get(uid, one.received_at))
    revisions = {uid: row.revision for uid, row in series.items()}
    arrived: list[dict[str, Any]] = []
    incomplete: list[str] = []
    studies: dict[str, datetime] = {}
    for uid in sorted({*restored, *changed, *resent}):
        row = series[uid]
        studies[row.study_instance_uid] = max(lasts[uid], studies.get(row.study_instance_uid, lasts[uid]))
        count, last = row.instance_count + gained.get(uid, 0), max(lasts[uid], row.last_received_at)
        # an examination that was imported is a scanner's from when one sends more of it: people are told of it again
        calling = senders[uid].name if row.calling_ae_title == IMPORTED else row.calling_ae_title
        lacked = uid in restored and row.lacking is not None and row.state in _WITHOUT_RESULT
        if row.state == SeriesState.RECEIVING or (uid not in changed and not lacked):
            arrived.append({"series": uid, "count": count, "last": last, "calling": calling})
        else:
            revisions[uid] += 1
            note = Note(at=now, actor=senders[uid], detail=f"revision {revisions[uid]} begins")
            gone_on = {"instance_count": count, "last_received_at": last, "calling_ae_title": calling}
            begin_revision(session, uid, note, revision=revisions[uid], **gone_on)
        if row.instances_removed_at is not None:
            incomplete.append(uid)
    if arrived:
        connection.execute(_NOTE_ARRIVAL, arrived)
    if incomplete:
        connection.execute(_NOTE_WHOLE, {"uids": incomplete})
    if studies:  # in one order, so that two receivers never wait for each other
        connection.execute(_NOTE_STUDY, [{"study": study, "last": last} for study, last in sorted(studies.items())])
    return revisions


def begin_revision(session: Session, series_instance_uid: str, note: Note, **changes: Any) -> None:
    """The series had been complete: what was made of it is stale, and so is what was to be compared with it."""
    stop_active_job(session, series_instance_uid, note)
    session.execute(delete(ResentVersionRow).where(ResentVersionRow.series_instance_uid == series_instance_uid))
    transition(
        session,
        locked_series(session, series_instance_uid),
        SeriesEvent.LATE_INSTANCE,
        note,
        completed_at=None,
        ended_at=None,
        reason=None,
        lacking=None,
        rejected_for=None,
        rejection=None,
        screenings=0,
        **changes,
    )


def _study_columns(instance: ReceivedInstance) -> dict[str, Any]:
    header = instance.header
    return {
        "study_instance_uid": instance.study_instance_uid,
        "reversed_uid": instance.study_instance_uid[::-1],
        "patient_id": instance.patient_id,
        "issuer_of_patient_id": instance.issuer_of_patient_id,
        "patient_birth_date": instance.patient_birth_date,
        "patient_sex": instance.patient_sex,
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
        "reversed_uid": instance.series_instance_uid[::-1],
        "study_instance_uid": instance.study_instance_uid,
        "state": SeriesState.RECEIVING.value,
        "revision": 1,
        "modality": instance.modality,
        "series_description": str(header.get("series_description") or ""),
        "frame_of_reference_uid": header.get("frame_of_reference_uid"),
        "calling_ae_title": instance.calling_ae_title,
        "instance_count": 0,
        "first_received_at": instance.received_at,
        "last_received_at": instance.received_at,
    }


def _columns(instance: ReceivedInstance) -> dict[str, Any]:
    position = instance.header.get("slice_position_mm")
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
        "slice_position_mm": float(position) if isinstance(position, int | float) and isfinite(position) else None,
        "uid_warning": instance.uid_warning,
    }
