"""What comes in: instances, the associations that bring them, and series on their way to screening."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import exists, func, select, text, update
from sqlalchemy.orm import Session, aliased

from alerts.alert import AlertEvent, AlertState
from analysis.series.verdicts import Screening
from db.engine import Database
from db.errors import StaleState
from db.job import ACTIVE_JOB_STATES, JobEvent
from db.rows import AlertRow, AssociationRow, InstanceRow, JobRow, ResultRow, SeriesRow, StudyRow
from db.series_state import SeriesEvent, SeriesState
from db.store.records import all_of, instance_of, series_of, to_json
from db.store.transitions import Note, record_event, transition
from db.values import (
    AssociationRecord,
    CompleteSeries,
    ReceivedInstance,
    Recorded,
    RecordedKind,
    SeriesEvidence,
    SeriesRecord,
    StoredInstance,
)

_RECEIVER = "receiver"
_TRIAGE = "triage"


class Intake:
    """Instances, associations, and series until they are queued or excluded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_instance(self, instance: ReceivedInstance) -> Recorded:
        """Index one instance; see :meth:`record_instances`."""
        return self.record_instances([instance])[0]

    def record_instances(self, instances: Sequence[ReceivedInstance]) -> tuple[Recorded, ...]:
        """Index instances in one transaction, all or none; one answer each, in order.

        The same bytes again are a duplicate and change nothing. Other bytes under a known UID are a new version.
        What is new to a series past receiving begins its next revision. Cost: a few statements an instance.
        """
        with self._database.write() as session:
            if not self._database.is_sqlite:
                _lock_studies(session, {instance.study_instance_uid for instance in instances})
            return tuple(_record(session, instance) for instance in instances)

    def find_versions(self, sop_instance_uid: str) -> tuple[StoredInstance, ...]:
        """Every version of an instance that is indexed, the oldest first."""
        with self._database.read() as session:
            rows = session.scalars(
                select(InstanceRow).where(InstanceRow.sop_instance_uid == sop_instance_uid).order_by(InstanceRow.id)
            )
            return all_of(rows, instance_of)

    def series_paths(self, series_instance_uid: str) -> tuple[StoredInstance, ...]:
        """The newest version of each instance of a series whose file retention has not removed."""
        newest = (
            select(func.max(InstanceRow.id))
            .where(InstanceRow.series_instance_uid == series_instance_uid)
            .group_by(InstanceRow.sop_instance_uid)
        )
        with self._database.read() as session:
            rows = session.scalars(
                select(InstanceRow)
                .where(InstanceRow.id.in_(newest), InstanceRow.removed_at.is_(None))
                .order_by(InstanceRow.id)
            )
            return all_of(rows, instance_of)

    def study_series(self, study_instance_uid: str) -> tuple[SeriesRecord, ...]:
        """All series of a study."""
        with self._database.read() as session:
            return _study_series(session, study_instance_uid)

    def open_association(self, association: AssociationRecord) -> None:
        """Remember an association that is about to bring instances; a known one stays as it is."""
        with self._database.write() as session:
            if session.get(AssociationRow, association.association_id) is None:
                session.add(
                    AssociationRow(
                        association_id=association.association_id,
                        receiver_id=association.receiver_id,
                        calling_ae_title=association.calling_ae_title,
                        called_ae_title=association.called_ae_title,
                        address=association.address,
                        opened_at=association.opened_at,
                    )
                )

    def close_association(self, association_id: str) -> None:
        """The association has ended, however it did."""
        self._close(AssociationRow.association_id == association_id)

    def close_associations_of(self, receiver_id: str) -> None:
        """A receiver is gone, and its associations with it."""
        self._close(AssociationRow.receiver_id == receiver_id)

    def _close(self, which: Any) -> None:
        with self._database.write() as session:
            session.execute(
                update(AssociationRow)
                .where(which, AssociationRow.closed_at.is_(None))
                .values(closed_at=datetime.now(UTC))
            )

    def receiving_series(self) -> tuple[SeriesEvidence, ...]:
        """The evidence on every series that is being received."""
        with self._database.read() as session:
            rows = session.scalars(select(SeriesRow).where(SeriesRow.state == SeriesState.RECEIVING.value)).all()
            siblings = Counter(row.study_instance_uid for row in rows)
            return tuple(_evidence(session, row, siblings[row.study_instance_uid] - 1) for row in rows)

    def mark_complete(self, series_instance_uid: str, revision: int, evidence: str) -> None:
        """The evidence says that the series is complete.

        Raises:
            StaleState: it is not being received at this revision any more.
        """
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = series_at(session, series_instance_uid, revision)
            transition(
                session, row, SeriesEvent.COMPLETE, Note(at=now, actor=_TRIAGE, detail=evidence), completed_at=now
            )

    def complete_series(self) -> tuple[CompleteSeries, ...]:
        """Series that wait for screening, the oldest first."""
        with self._database.read() as session:
            rows = session.scalars(
                select(SeriesRow)
                .where(SeriesRow.state == SeriesState.COMPLETE.value)
                .order_by(SeriesRow.completed_at, SeriesRow.series_instance_uid)
            ).all()
            return tuple(
                CompleteSeries(
                    series_instance_uid=row.series_instance_uid,
                    study_instance_uid=row.study_instance_uid,
                    revision=row.revision,
                    modality=row.modality,
                    completed_at=row.completed_at or row.last_received_at,
                    siblings=_study_series(session, row.study_instance_uid),
                )
                for row in rows
            )

    def exclude(self, series_instance_uid: str, revision: int, screening: Screening, reason: str) -> None:
        """A rule excluded the series; a job it had, a result in force and an open alert are superseded with it.

        Raises:
            StaleState: the series is of another revision, or in a state that cannot be excluded.
        """
        note = Note(at=datetime.now(UTC), actor=_TRIAGE, detail=reason)
        with self._database.write() as session:
            row = series_at(session, series_instance_uid, revision)
            supersede_jobs(session, series_instance_uid, note)
            exclude_row(session, row, screening, reason, note)


def series_at(session: Session, series_instance_uid: str, revision: int) -> SeriesRow:
    """The row of a series, if it is at this revision."""
    row = session.get(SeriesRow, series_instance_uid, populate_existing=True)
    if row is None or row.revision != revision:
        now = "unknown" if row is None else f"at revision {row.revision}"
        raise StaleState(f"Series {series_instance_uid} is {now}, not at revision {revision}.")
    return row


def exclude_row(session: Session, row: SeriesRow, screening: Screening, reason: str, note: Note) -> None:
    """Exclude a series, withdrawing the result and the alert it may have had."""
    transition(
        session,
        row,
        SeriesEvent.EXCLUDE,
        note,
        screening=to_json(screening),
        reason=reason,
        profile=screening.profile.value if screening.profile else None,
        ended_at=note.at,
    )
    session.execute(
        update(ResultRow)
        .where(ResultRow.series_instance_uid == row.series_instance_uid, ResultRow.superseded_at.is_(None))
        .values(superseded_at=note.at)
    )
    supersede_alert(session, row.series_instance_uid, note)


def supersede_alert(session: Session, series_instance_uid: str, note: Note) -> None:
    """The series' alert no longer stands on a result, unless a reader has dismissed it already."""
    alert = session.scalar(select(AlertRow).where(AlertRow.series_instance_uid == series_instance_uid))
    if alert is not None and alert.state in {AlertState.OPEN.value, AlertState.ACKNOWLEDGED.value}:
        transition(session, alert, AlertEvent.SUPERSEDE, note, updated_at=note.at)


def supersede_jobs(session: Session, series_instance_uid: str, note: Note) -> None:
    """Whatever was to be done with an older revision is not done any more."""
    active = select(JobRow).where(
        JobRow.series_instance_uid == series_instance_uid,
        JobRow.state.in_([state.value for state in ACTIVE_JOB_STATES]),
    )
    for job in session.scalars(active).all():
        transition(session, job, JobEvent.SUPERSEDE, note, finished_at=note.at, lease_expires_at=None)


def _lock_studies(session: Session, study_instance_uids: Collection[str]) -> None:
    """Two receivers that bring the first instances of one study take turns, where the database lets both write."""
    for uid in sorted(study_instance_uids):
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 0))"), {"uid": uid})


def _record(session: Session, instance: ReceivedInstance) -> Recorded:
    """Index one instance within a transaction."""
    series = session.get(SeriesRow, instance.series_instance_uid)
    versions = session.scalars(
        select(InstanceRow).where(
            InstanceRow.series_instance_uid == instance.series_instance_uid,
            InstanceRow.sop_instance_uid == instance.sop_instance_uid,
        )
    ).all()
    for known in versions:
        if series is not None and known.sha256 == instance.sha256 and known.removed_at is None:
            return Recorded(
                kind=RecordedKind.DUPLICATE,
                instance_id=known.id,
                series_instance_uid=series.series_instance_uid,
                revision=series.revision,
                path=known.path,
            )
    series = _touch(session, instance, series, is_new=not versions)
    row = next((known for known in versions if known.sha256 == instance.sha256), None)
    if row is None:
        row = _new_row(instance)
        session.add(row)
    else:  # retention had removed the file, and the sender brought it again
        row.removed_at, row.path, row.received_at = None, instance.path, instance.received_at
        row.association_id = instance.association_id
    session.flush()
    return Recorded(
        kind=RecordedKind.NEW_VERSION if versions else RecordedKind.NEW,
        instance_id=row.id,
        series_instance_uid=series.series_instance_uid,
        revision=series.revision,
        path=row.path,
    )


def _touch(session: Session, instance: ReceivedInstance, series: SeriesRow | None, *, is_new: bool) -> SeriesRow:
    """The study and the series of an instance, made or moved by its arrival."""
    _touch_study(session, instance)
    note = Note(at=instance.received_at, actor=_RECEIVER)
    if series is None:
        series = SeriesRow(
            series_instance_uid=instance.series_instance_uid,
            study_instance_uid=instance.study_instance_uid,
            state=SeriesState.RECEIVING.value,
            revision=1,
            modality=instance.modality,
            series_description=_text(instance.header, "series_description"),
            frame_of_reference_uid=_text(instance.header, "frame_of_reference_uid") or None,
            instance_count=1,
            first_received_at=instance.received_at,
            last_received_at=instance.received_at,
        )
        session.add(series)
        session.flush()
        record_event(
            session, "series", series.series_instance_uid, "receive", note,
            series=series.series_instance_uid, moved=(None, series.state),
        )  # fmt: skip
        return series
    if series.state != SeriesState.RECEIVING.value:
        supersede_jobs(session, series.series_instance_uid, note)
        transition(
            session,
            series,
            SeriesEvent.LATE_INSTANCE,
            note,
            revision=series.revision + 1,
            completed_at=None,
            ended_at=None,
            instances_removed_at=None,
            reason=None,
        )
    series.last_received_at = max(series.last_received_at, instance.received_at)
    series.instance_count += int(is_new)
    return series


def _touch_study(session: Session, instance: ReceivedInstance) -> None:
    study = session.get(StudyRow, instance.study_instance_uid)
    if study is None:
        session.add(
            StudyRow(
                study_instance_uid=instance.study_instance_uid,
                patient_id=instance.patient_id,
                accession_number=_text(instance.header, "accession_number"),
                study_date=_text(instance.header, "study_date"),
                study_description=_text(instance.header, "study_description"),
                first_received_at=instance.received_at,
                last_received_at=instance.received_at,
            )
        )
        session.flush()
    else:
        study.last_received_at = max(study.last_received_at, instance.received_at)


def _new_row(instance: ReceivedInstance) -> InstanceRow:
    position = instance.header.get("slice_position_mm")
    return InstanceRow(
        series_instance_uid=instance.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        path=instance.path,
        size_bytes=instance.size_bytes,
        sha256=instance.sha256,
        calling_ae_title=instance.calling_ae_title,
        called_ae_title=instance.called_ae_title,
        address=instance.address,
        association_id=instance.association_id,
        received_at=instance.received_at,
        slice_position_mm=float(position) if isinstance(position, int | float) else None,
        uid_warning=instance.uid_warning,
        header=dict(instance.header),
    )


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value)


def _study_series(session: Session, study_instance_uid: str) -> tuple[SeriesRecord, ...]:
    rows = session.scalars(
        select(SeriesRow)
        .where(SeriesRow.study_instance_uid == study_instance_uid)
        .order_by(SeriesRow.first_received_at, SeriesRow.series_instance_uid)
    )
    return all_of(rows, series_of)


def _evidence(session: Session, row: SeriesRow, receiving_siblings: int) -> SeriesEvidence:
    positions = session.scalars(
        select(InstanceRow.slice_position_mm)
        .where(
            InstanceRow.series_instance_uid == row.series_instance_uid,
            InstanceRow.slice_position_mm.is_not(None),
            InstanceRow.removed_at.is_(None),
        )
        .distinct()
        .order_by(InstanceRow.slice_position_mm)
    )
    series = aliased(SeriesRow)
    brought = exists().where(
        InstanceRow.association_id == AssociationRow.association_id,
        InstanceRow.series_instance_uid == series.series_instance_uid,
        series.study_instance_uid == row.study_instance_uid,
    )
    open_associations = session.scalar(
        select(func.count()).select_from(AssociationRow).where(AssociationRow.closed_at.is_(None), brought)
    )
    return SeriesEvidence(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        modality=row.modality,
        instance_count=row.instance_count,
        slice_positions=tuple(value for value in positions if value is not None),
        last_received_at=row.last_received_at,
        open_associations=open_associations or 0,
        receiving_siblings=receiving_siblings,
    )
