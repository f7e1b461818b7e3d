"""Which instances may leave the archive."""

import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from db.actor import Actor
from db.errors import StaleState
from db.rows import InstanceRow, SeriesRow
from db.series_state import SeriesState
from db.store.conversion import instance_of
from db.store.room import Room, locked_series
from db.store.transitions import Note, record_event
from db.values import StoredInstance

__all__ = ["Retention"]

_RETENTION = Actor.process("retention")

REMOVABLE = frozenset({SeriesState.ANALYSED, SeriesState.EXCLUDED, SeriesState.FAILED})
"""A series in any other state is unprocessed: its instances never go, whatever is asked."""

_MAY_HAVE_INSTANCES = SeriesRow.instances_removed_at.is_(None) | (
    SeriesRow.instances_removed_at < SeriesRow.last_received_at
)
"""They were never removed, or some came again since: what an index of its own holds."""

Before = Mapping[SeriesState, datetime]
"""For each state the time before which a series must have ended, and last received something, to be removable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Room):
    """What is unprocessed never goes."""

    def removable(self, before: Before) -> tuple[str, ...]:
        """The series that ended, and last received something, before their state's time, and still have instances.

        A state that is not named is kept. ``ValueError`` for one that is unprocessed.
        """
        if not before:
            return ()
        if not REMOVABLE.issuperset(before):
            raise ValueError("what is unprocessed is never removed")
        there = select(InstanceRow.id).where(
            InstanceRow.series_instance_uid == SeriesRow.series_instance_uid, InstanceRow.removed_at.is_(None)
        )
        in_time = [
            (SeriesRow.state == state.value) & (SeriesRow.ended_at < moment) & (SeriesRow.last_received_at < moment)
            for state, moment in before.items()
        ]
        with self.database.read() as session:
            return tuple(
                session.scalars(
                    select(SeriesRow.series_instance_uid)
                    .where(or_(*in_time), _MAY_HAVE_INSTANCES, there.exists())
                    .order_by(SeriesRow.ended_at)
                )
            )

    def files(self, series_instance_uid: str) -> tuple[StoredInstance, ...]:
        """Every version of every instance that is still there."""
        with self.database.read() as session:
            return _files(session, series_instance_uid)

    def sample(self, count: int) -> tuple[StoredInstance, ...]:
        """Up to so many versions that are still there, chosen by chance; each costs one look-up by its key."""
        with self.database.read() as session:
            last = session.scalar(select(func.max(InstanceRow.id))) or 0
            chosen: dict[int, InstanceRow] = {}
            for number in random.sample(range(1, last + 1), min(count, last)):
                row = session.scalar(
                    select(InstanceRow)
                    .where(InstanceRow.id >= number, InstanceRow.removed_at.is_(None))
                    .order_by(InstanceRow.id)
                    .limit(1)
                )
                if row is not None:
                    chosen[row.id] = row
            return tuple(instance_of(row) for row in chosen.values())

    @contextmanager
    def removal(self, series_instance_uid: str, before: Before) -> Generator[tuple[StoredInstance, ...]]:
        """Every version that is to be unlinked within the block; that it is gone is recorded at the block's end.

        The series is locked meanwhile: what comes for it now waits, and is indexed as new. After a crash within the
        block the rows still stand, and the next removal finds the files gone.

        Raises:
            StaleState: the series is at work again, or received something since it was found removable.
        """
        now = self.clock()
        with self.database.write() as session:
            series = locked_series(session, series_instance_uid)
            moment = before.get(SeriesState(series.state))
            if series.state not in REMOVABLE or moment is None or series.last_received_at >= moment:
                raise StaleState(f"Series {series_instance_uid} is {series.state}, and not to be removed.")
            yield _files(session, series_instance_uid)
            session.execute(
                update(InstanceRow)
                .where(InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None))
                .values(removed_at=now)
            )
            series.instances_removed_at = now
            series.instance_count = 0
            record_event(
                session,
                "series",
                series_instance_uid,
                "instances_removed",
                Note(at=now, actor=_RETENTION),
                series=series_instance_uid,
            )


def _files(session: Session, series_instance_uid: str) -> tuple[StoredInstance, ...]:
    rows = session.scalars(
        select(InstanceRow).where(
            InstanceRow.series_instance_uid == series_instance_uid, InstanceRow.removed_at.is_(None)
        )
    )
    return tuple(instance_of(row) for row in rows)
