"""Intake: from the first instance of a series to its screening."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from analysis.series.verdicts import Screening
from db.errors import StaleState
from db.rows import AssociationRow, InstanceRow, SeriesRow
from db.series_state import SeriesEvent, SeriesState
from db.store import recording
from db.store.conversion import instance_of, series_of, to_json
from db.store.jobs import COMPLETION
from db.store.performed_steps import announced_of
from db.store.room import Room, inserting, locked_series, stop_active_job
from db.store.superseding import retire_result
from db.store.transitions import Note, transition
from db.values import (
    AssociationRecord,
    CompleteSeries,
    ReceivedInstance,
    Recorded,
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
        revision: the series is RECEIVING again, and a job of the older revision is cancelled. Bytes that retention had
        removed are NEW again, without a new revision.
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

    def close_association(self, association_id: str) -> None:
        """Write it down as closed; doing so twice changes nothing."""
        self._close(AssociationRow.association_id == association_id)

    def close_associations_of(self, receiver_id: str) -> int:
        """Close what a receiver that is dead left open; how many there were."""
        return self._close(AssociationRow.receiver_id == receiver_id)

    def _close(self, which: ColumnElement[bool]) -> int:
        with self.database.write() as session:
            closed = session.scalars(
                update(AssociationRow)
                .where(which, AssociationRow.closed_at.is_(None))
                .values(closed_at=self.clock())
                .returning(AssociationRow.association_id)
            ).all()
            return len(closed)

    def receiving_series(self) -> tuple[SeriesEvidence, ...]:
        """What tells about each series that is being received whether it is complete."""
        with self.database.read() as session:
            rows = session.scalars(
                select(SeriesRow)
                .where(SeriesRow.state == SeriesState.RECEIVING)
                .order_by(SeriesRow.first_received_at, SeriesRow.series_instance_uid)
            ).all()
            if not rows:
                return ()
            open_by_study = session.execute(
                select(SeriesRow.study_instance_uid, func.count(func.distinct(AssociationRow.association_id)))
                .join(InstanceRow, InstanceRow.series_instance_uid == SeriesRow.series_instance_uid)
                .join(AssociationRow, AssociationRow.association_id == InstanceRow.association_id)
                .where(AssociationRow.closed_at.is_(None))
                .group_by(SeriesRow.study_instance_uid)
            ).all()
            open_count: dict[str, int] = {study: count for study, count in open_by_study}  # noqa: C416 - rows are typed tuples
            positions: dict[str, dict[str, float]] = {row.series_instance_uid: {} for row in rows}
            located = session.execute(
                select(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid, InstanceRow.slice_position_mm)
                .join(SeriesRow, SeriesRow.series_instance_uid == InstanceRow.series_instance_uid)
                .where(SeriesRow.state == SeriesState.RECEIVING, InstanceRow.slice_position_mm.is_not(None))
                .order_by(InstanceRow.received_at, InstanceRow.id)
            )
            for series, sop, position in located:
                if position is not None and series in positions:
                    positions[series][sop] = position
            studies = [row.study_instance_uid for row in rows]
            announced = announced_of(session, list(positions))
            return tuple(
                SeriesEvidence(
                    series_instance_uid=row.series_instance_uid,
                    study_instance_uid=row.study_instance_uid,
                    revision=row.revision,
                    modality=row.modality,
                    instance_count=row.instance_count,
                    slice_positions=tuple(sorted(positions[row.series_instance_uid].values())),
                    last_received_at=row.last_received_at,
                    open_associations=open_count.get(row.study_instance_uid, 0),
                    receiving_siblings=studies.count(row.study_instance_uid) - 1,
                    announced_instances=found.instances if (found := announced.get(row.series_instance_uid)) else None,
                    announced_missing=found.missing if found else 0,
                )
                for row in rows
            )

    def mark_complete(self, series_instance_uid: str, revision: int, evidence: str) -> None:
        """RECEIVING to COMPLETE, with the evidence.

        Raises:
            StaleState: it is another revision by now, or complete already.
        """
        now = self.clock()
        with self.database.write() as session:
            series = _at(locked_series(session, series_instance_uid), revision)
            transition(
                session, series, SeriesEvent.COMPLETE, Note(at=now, actor=COMPLETION, detail=evidence), completed_at=now
            )

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
                    siblings=_of_study(session, row.study_instance_uid),
                )
                for row in rows
            )

    def study_series(self, study_instance_uid: str) -> tuple[SeriesRecord, ...]:
        """All series of a study."""
        with self.database.read() as session:
            return _of_study(session, study_instance_uid)

    def exclude(self, series_instance_uid: str, revision: int, screening: Screening, reason: str) -> None:
        """COMPLETE, QUEUED or ANALYSED to EXCLUDED: a job is cancelled, a result and its alert are superseded.

        Raises:
            StaleState: it is another revision by now, or in no such state.
        """
        now = self.clock()
        with self.database.write() as session:
            series = _at(locked_series(session, series_instance_uid), revision)
            note = Note(at=now, actor=COMPLETION, detail=reason)
            stop_active_job(session, series_instance_uid, note)
            retire_result(session, series_instance_uid, note)
            transition(
                session,
                series,
                SeriesEvent.EXCLUDE,
                note,
                reason=reason,
                screening=to_json(screening),
                profile=screening.profile.value if screening.profile else None,
                ended_at=now,
            )


def _of_study(session: Session, study_instance_uid: str) -> tuple[SeriesRecord, ...]:
    rows = session.scalars(
        select(SeriesRow)
        .where(SeriesRow.study_instance_uid == study_instance_uid)
        .order_by(SeriesRow.first_received_at, SeriesRow.series_instance_uid)
    )
    return tuple(series_of(row) for row in rows)


def _at(series: SeriesRow, revision: int) -> SeriesRow:
    if series.revision != revision:
        raise StaleState(f"Series {series.series_instance_uid} is at revision {series.revision}, not {revision}.")
    return series
