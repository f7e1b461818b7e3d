"""Intake: from the first instance of a series to its screening."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from analysis.series.verdicts import Screening
from db.errors import StaleState
from db.rows import AssociationRow, AssociationSeriesRow, InstanceRow, PerformedSeriesRow, SeriesRow, StudyRow
from db.series_key import marked_keys_begin, received_series_uid
from db.series_state import SeriesEvent, SeriesState
from db.store import recording
from db.store.conversion import instance_of, series_of
from db.store.jobs import COMPLETION
from db.store.lookup import begins_with
from db.store.performed_steps import announced_of
from db.store.room import Room, inserting, locked_series, stop_active_job
from db.store.succession import exclude, fall_back, is_whole, locked_with_rejected, reject
from db.store.transitions import Note, transition
from db.values import (
    Arrival,
    AssociationRecord,
    CompleteSeries,
    ReceivedInstance,
    Recorded,
    Rejected,
    SeriesEvidence,
    SeriesRecord,
    StoredInstance,
)

__all__ = ["Intake"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake(Room):
    """What the receiver and the triage read and write."""

    def record_instance(self, instance: ReceivedInstance) -> Recorded:
        """Index one instance; see ``record_instances``."""
        return self.record_instances([instance])[0]

    def record_instances(self, instances: Sequence[ReceivedInstance]) -> tuple[Recorded, ...]:
        """Index instances in one commit; the answers are in their order.

        Identical bytes are a DUPLICATE and change nothing. Anything new on a series past RECEIVING begins a new
        revision: the series is RECEIVING again, and a job of the older revision is cancelled. Other bytes of an
        instance that is on disk do so only when they were compared and show something else: see ``Versions``. Bytes
        that retention had removed are NEW again, without a new revision.
        """
        if not instances:
            return ()
        with self.database.write() as session:
            return recording.record(session, instances, self.clock())

    def find_versions(self, sop_instance_uid: str) -> tuple[StoredInstance, ...]:
        """Every version of an instance, oldest first, those that retention removed included."""
        with self.database.read() as session:
            rows = session.scalars(
                select(InstanceRow)
                .where(InstanceRow.sop_instance_uid == sop_instance_uid)
                .order_by(InstanceRow.received_at, InstanceRow.id)
            )
            return tuple(instance_of(row) for row in rows)

    def series_paths(self, series_instance_uid: str) -> tuple[StoredInstance, ...]:
        """The newest version of each instance of the series; none where retention removed them."""
        with self.database.read() as session:
            rows = session.scalars(
                select(InstanceRow)
                .where(InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None))
                .order_by(InstanceRow.received_at, InstanceRow.id)
            )
            newest = {row.sop_instance_uid: row for row in rows}
            return tuple(instance_of(row) for row in newest.values())

    def namesakes(self, series_instance_uid: str) -> tuple[SeriesRecord, ...]:
        """Series of the same Series Instance UID, patient and frame of reference that came under other studies."""
        uid = received_series_uid(series_instance_uid)
        with self.database.read() as session:
            own = session.get(SeriesRow, series_instance_uid)
            if own is None or own.frame_of_reference_uid is None:
                return ()
            found = session.execute(
                select(SeriesRow, StudyRow)
                .join(StudyRow, StudyRow.study_instance_uid == SeriesRow.study_instance_uid)
                .where(
                    (SeriesRow.series_instance_uid == uid)
                    | begins_with(session, SeriesRow.series_instance_uid, marked_keys_begin(uid)),
                    SeriesRow.frame_of_reference_uid == own.frame_of_reference_uid,
                )
            ).all()
            patients = {row.series_instance_uid: (study.patient_id, study.issuer_of_patient_id) for row, study in found}
            return tuple(
                series_of(row)
                for row, _ in found
                if row is not own and patients[row.series_instance_uid] == patients[series_instance_uid]
            )

    def open_association(self, association: AssociationRecord) -> None:
        """Write an association down as open; doing so twice changes nothing."""
        with self.database.write() as session:
            session.execute(
                inserting(session, AssociationRow)
                .values(
                    association_id=association.association_id,
                    receiver_id=association.receiver_id,
                    calling_ae_title=association.calling_ae_title,
                    called_ae_title=association.called_ae_title,
                    address=association.address,
                    opened_at=association.opened_at,
                )
                .on_conflict_do_nothing()
            )

    def close_association(self, association_id: str, *, released: bool = True) -> None:
        """Write it down as closed, and whether its peer released it; doing so twice changes nothing."""
        self._close(AssociationRow.association_id == association_id, released=released)

    def close_associations_of(self, receiver_id: str) -> int:
        """Close what a receiver that is dead left open; how many there were. None of them was released."""
        return self._close(AssociationRow.receiver_id == receiver_id, released=False)

    def _close(self, which: ColumnElement[bool], *, released: bool) -> int:
        with self.database.write() as session:
            closed = session.scalars(
                update(AssociationRow)
                .where(which, AssociationRow.closed_at.is_(None))
                .values(closed_at=self.clock(), released=released)
                .returning(AssociationRow.association_id)
            ).all()
            return len(closed)

    def receiving_series(self, quiet_since: datetime | None = None) -> tuple[SeriesEvidence, ...]:
        """What tells about series that are being received whether they are complete; those first that came first.

        ``quiet_since`` leaves out those that received something after it, unless a modality has listed them.
        """
        which = SeriesRow.state == SeriesState.RECEIVING
        if quiet_since is not None:
            listed = select(PerformedSeriesRow.id).where(
                PerformedSeriesRow.series_instance_uid == SeriesRow.series_instance_uid
            )
            which &= (SeriesRow.last_received_at <= quiet_since) | listed.exists()
        with self.database.read() as session:
            rows = session.scalars(
                select(SeriesRow).where(which).order_by(SeriesRow.first_received_at, SeriesRow.series_instance_uid)
            ).all()
            open_associations = _open_associations(session) if rows else {}
            announced = announced_of(session, select(SeriesRow.series_instance_uid).where(which)) if rows else {}
            return tuple(
                SeriesEvidence(
                    series_instance_uid=row.series_instance_uid,
                    study_instance_uid=row.study_instance_uid,
                    revision=row.revision,
                    modality=row.modality,
                    instance_count=row.instance_count,
                    last_received_at=row.last_received_at,
                    open_associations=open_associations.get(row.study_instance_uid, 0),
                    announced_instances=found.instances if (found := announced.get(row.series_instance_uid)) else None,
                    announced_missing=found.missing if found else 0,
                    removed_instances=_removed_instances(session, row),
                )
                for row in rows
            )

    def arrival(self, series_instance_uid: str) -> Arrival:
        """Where the instances of the series lie, the newest version of each that is on disk, and how they came."""
        with self.database.read() as session:
            found = session.execute(
                select(InstanceRow.sop_instance_uid, InstanceRow.slice_position_mm)
                .where(InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None))
                .order_by(InstanceRow.received_at, InstanceRow.id)
            )
            newest: dict[str, float | None] = {sop: position for sop, position in found}  # noqa: C416 - rows are typed tuples
            placed = sorted(
                position for position in newest.values() if position is not None and math.isfinite(position)
            )
            return Arrival(
                slice_positions=tuple(placed),
                unplaced=len(newest) - len(placed),
                broken_off=_broken_off(session, series_instance_uid),
            )

    def mark_complete(self, series_instance_uid: str, revision: int, evidence: str, lacking: str | None = None) -> None:
        """RECEIVING to COMPLETE, with the evidence, and what is known to be missing all the same.

        Raises:
            StaleState: it is another revision by now, or complete already.
        """
        now = self.clock()
        with self.database.write() as session:
            series = _at(locked_series(session, series_instance_uid), revision)
            note = Note(at=now, actor=COMPLETION, detail=evidence)
            transition(session, series, SeriesEvent.COMPLETE, note, completed_at=now, lacking=lacking)

    def complete_series(self) -> tuple[CompleteSeries, ...]:
        """The series that wait for screening, longest first."""
        with self.database.read() as session:
            rows = session.scalars(
                select(SeriesRow).where(SeriesRow.state == SeriesState.COMPLETE).order_by(SeriesRow.completed_at)
            ).all()
            return tuple(
                CompleteSeries(
                    series_instance_uid=row.series_instance_uid,
                    study_instance_uid=row.study_instance_uid,
                    revision=row.revision,
                    modality=row.modality,
                    completed_at=row.completed_at or row.last_received_at,
                    screenings=row.screenings,
                    lacking=row.lacking,
                    incomplete=row.instances_removed_at is not None,
                )
                for row in rows
            )

    def studies_receiving(self, modalities: Collection[str]) -> frozenset[str]:
        """The studies of which a series of one of these modalities is being received."""
        with self.database.read() as session:
            return frozenset(
                session.scalars(
                    select(SeriesRow.study_instance_uid)
                    .where(SeriesRow.state == SeriesState.RECEIVING, SeriesRow.modality.in_(sorted(modalities)))
                    .distinct()
                )
            )

    def begin_screening(self, series_instance_uids: Collection[str]) -> None:
        """Count a screening of each of these before it begins, so that one that ends its process is counted too."""
        with self.database.write() as session:
            session.execute(
                update(SeriesRow)
                .where(SeriesRow.series_instance_uid.in_(series_instance_uids))
                .values(screenings=SeriesRow.screenings + 1)
            )

    def study_series(self, study_instance_uid: str) -> tuple[SeriesRecord, ...]:
        """All series of a study."""
        with self.database.read() as session:
            rows = session.scalars(
                select(SeriesRow)
                .where(SeriesRow.study_instance_uid == study_instance_uid)
                .order_by(SeriesRow.first_received_at, SeriesRow.series_instance_uid)
            )
            return tuple(series_of(row) for row in rows)

    def exclude(self, series_instance_uid: str, revision: int, screening: Screening, *, judged: bool = True) -> str:
        """COMPLETE or QUEUED to EXCLUDED; a job is cancelled. The reason that the series has now.

        A result in force ends with it where the rules ``judged`` the series and the revision is whole; else it stands.

        Raises:
            StaleState: it is another revision by now, or in no such state.
        """
        note = Note(at=self.clock(), actor=COMPLETION, detail=str(screening.rule))
        with self.database.write() as session:
            series, rejected = locked_with_rejected(session, series_instance_uid)
            _at(series, revision)
            stop_active_job(session, series_instance_uid, note)
            reason = exclude(session, series, screening, note, retires=judged and is_whole(series))
            fall_back(session, series, rejected.values(), note)
            return reason

    def reject(self, rejected: Rejected, chosen: str) -> None:
        """Another reconstruction was chosen before: the series gives way to it, at once if that one has a result.

        Raises:
            StaleState: the chosen one is neither queued nor analysed any more.
        """
        note = Note(at=self.clock(), actor=COMPLETION, detail=str(rejected.screening.rule))
        with self.database.write() as session:
            best, others = locked_with_rejected(session, chosen, [rejected.series_instance_uid])
            if best.state not in {SeriesState.QUEUED, SeriesState.ANALYSED}:
                raise StaleState(f"Series {chosen} is {best.state}.")
            reject(session, best, others[rejected.series_instance_uid], rejected, note)


def _open_associations(session: Session) -> dict[str, int]:
    """How many open associations brought something of each study."""
    found = session.execute(
        select(SeriesRow.study_instance_uid, func.count(func.distinct(AssociationRow.association_id)))
        .join(AssociationSeriesRow, AssociationSeriesRow.series_instance_uid == SeriesRow.series_instance_uid)
        .join(AssociationRow, AssociationRow.association_id == AssociationSeriesRow.association_id)
        .where(AssociationRow.closed_at.is_(None))
        .group_by(SeriesRow.study_instance_uid)
    )
    return {study: count for study, count in found}  # noqa: C416 - rows are typed tuples


def _broken_off(session: Session, series_instance_uid: str) -> bool:
    """Whether an association broke off, and none that brought something of the series was opened after it."""
    brought = (
        select(AssociationRow)
        .join(AssociationSeriesRow, AssociationSeriesRow.association_id == AssociationRow.association_id)
        .where(AssociationSeriesRow.series_instance_uid == series_instance_uid)
    )
    last = session.scalar(brought.order_by(AssociationRow.opened_at.desc()).limit(1))
    broken = session.scalar(
        brought.where(AssociationRow.released.is_(False)).order_by(AssociationRow.closed_at.desc()).limit(1)
    )
    if last is None or broken is None or broken.closed_at is None:
        return False
    return last.association_id == broken.association_id or last.opened_at < broken.closed_at


def _removed_instances(session: Session, series: SeriesRow) -> int:
    """How many instances retention removed that did not come again."""
    if series.instances_removed_at is None:
        return 0
    known = session.scalar(
        select(func.count(func.distinct(InstanceRow.sop_instance_uid))).where(
            InstanceRow.series_instance_uid == series.series_instance_uid
        )
    )
    return (known or 0) - series.instance_count


def _at(series: SeriesRow, revision: int) -> SeriesRow:
    if series.revision != revision:
        raise StaleState(f"Series {series.series_instance_uid} is at revision {series.revision}, not {revision}.")
    return series
