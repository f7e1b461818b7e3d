"""Performed procedure steps: taken from modalities, and read as evidence that a series is complete."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.orm import Session

from db.actor import Actor
from db.errors import StaleState
from db.performed_step import PerformedSeries, StepEvent, StepState
from db.rows import InstanceRow, PerformedSeriesRow, PerformedStepRow, SeriesRow
from db.series_state import SeriesState
from db.store.room import Room
from db.store.transitions import Note, record_event, transition

__all__ = ["Announced", "PerformedSteps", "announced_of"]

_STEP = "performed_step"
_ENDED = {StepEvent.COMPLETE: StepState.COMPLETED, StepEvent.DISCONTINUE: StepState.DISCONTINUED}
_AT_ONCE = 500
"""Steps removed in one transaction: on SQLite the receiver waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """How many instances of a series a modality lists in steps that have ended, and how many of them are not here."""

    instances: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformedSteps(Room):
    """What modalities say that they made."""

    def begin(self, sop_instance_uid: str, calling_ae_title: str) -> None:
        """A step begins.

        Raises:
            StaleState: there is a step of that UID.
        """
        now = self.clock()
        with self.database.write() as session:
            if _step(session, sop_instance_uid) is not None:
                raise StaleState(f"There is a performed step {sop_instance_uid}.")
            session.execute(
                insert(PerformedStepRow).values(
                    sop_instance_uid=sop_instance_uid,
                    calling_ae_title=calling_ae_title,
                    state=StepState.IN_PROGRESS,
                    begun_at=now,
                )
            )
            note = Note(at=now, actor=Actor.peer(calling_ae_title))
            record_event(session, _STEP, sop_instance_uid, "begin", note, moved=(None, StepState.IN_PROGRESS.value))

    def state(self, sop_instance_uid: str) -> StepState | None:
        """Where the step stands; None where there is none."""
        with self.database.read() as session:
            row = _step(session, sop_instance_uid)
            return None if row is None else StepState(row.state)

    def update(
        self, sop_instance_uid: str, calling_ae_title: str, series: Sequence[PerformedSeries], end: StepEvent | None
    ) -> None:
        """The step made these series, each listed whole; with ``end`` it made no more.

        Raises:
            StaleState: there is no such step, or it has ended.
        """
        now = self.clock()
        with self.database.write() as session:
            row = _step(session, sop_instance_uid)
            if row is None or row.state != StepState.IN_PROGRESS:
                raise StaleState(f"The performed step {sop_instance_uid} is not in progress.")
            named = {one.series_instance_uid: sorted(one.sop_instance_uids) for one in series}
            session.execute(
                delete(PerformedSeriesRow).where(
                    PerformedSeriesRow.step_id == row.id, PerformedSeriesRow.series_instance_uid.in_(named)
                )
            )
            if named:
                session.execute(
                    insert(PerformedSeriesRow),
                    [
                        {"step_id": row.id, "series_instance_uid": uid, "sop_instance_uids": instances}
                        for uid, instances in named.items()
                    ],
                )
            if end is not None:
                transition(session, row, end, Note(at=now, actor=Actor.peer(calling_ae_title)), ended_at=now)

    def remove(self, before: datetime) -> int:
        """Remove steps that ended before this moment, or began before it and never ended; how many there were.

        A step that names a series which is still being received stays, as evidence. One that never ended and is
        removed is unknown to its modality's next N-SET.
        """
        series_comes = (
            select(PerformedSeriesRow.id)
            .join(SeriesRow, SeriesRow.series_instance_uid == PerformedSeriesRow.series_instance_uid)
            .where(PerformedSeriesRow.step_id == PerformedStepRow.id, SeriesRow.state == SeriesState.RECEIVING.value)
        )
        old = (
            select(PerformedStepRow.id)
            .where(PerformedStepRow.begun_at < before)
            .where(func.coalesce(PerformedStepRow.ended_at, PerformedStepRow.begun_at) < before, ~series_comes.exists())
            .order_by(PerformedStepRow.begun_at)
            .limit(_AT_ONCE)
            .with_for_update()
        )
        removed = 0
        while True:
            with self.database.write() as session:
                steps = session.scalars(old).all()
                if steps:
                    session.execute(delete(PerformedSeriesRow).where(PerformedSeriesRow.step_id.in_(steps)))
                    session.execute(delete(PerformedStepRow).where(PerformedStepRow.id.in_(steps)))
            removed += len(steps)
            if len(steps) < _AT_ONCE:
                return removed


def _step(session: Session, sop_instance_uid: str) -> PerformedStepRow | None:
    return session.scalar(
        select(PerformedStepRow).where(PerformedStepRow.sop_instance_uid == sop_instance_uid).with_for_update()
    )


def announced_of(session: Session, series_instance_uids: Select[str]) -> dict[str, Announced]:
    """What ended steps list of the selected series; a series that none lists is left out."""
    listed: dict[str, set[str]] = defaultdict(set)
    rows = session.execute(
        select(PerformedSeriesRow.series_instance_uid, PerformedSeriesRow.sop_instance_uids)
        .join(PerformedStepRow, PerformedStepRow.id == PerformedSeriesRow.step_id)
        .where(
            PerformedStepRow.state.in_(sorted(_ENDED.values())),
            PerformedSeriesRow.series_instance_uid.in_(series_instance_uids),
        )
    )
    for series, instances in rows:
        listed[series].update(instances)
    held: dict[str, set[str]] = defaultdict(set)
    if listed:
        here = select(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid).where(
            InstanceRow.series_instance_uid.in_(listed), InstanceRow.removed_at.is_(None)
        )
        for series, instance in session.execute(here):
            held[series].add(instance)
    return {
        series: Announced(instances=len(instances), missing=len(instances - held[series]))
        for series, instances in listed.items()
        if instances
    }
