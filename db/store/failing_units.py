"""Units of the scheduler's sweeps that fail look after look."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select

from db.rows import FailingUnitRow
from db.store.room import Room, inserting
from db.values import FailingUnit

__all__ = ["FailingUnits"]

FRESH = timedelta(minutes=10)
"""A unit that failed is looked at again much sooner than this: one that failed longer ago is no longer looked at."""
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingUnits(Room):
    """At most one row for each unit; it goes when the unit no longer fails, or was not looked at for a day."""

    def record(self, sweep: str, unit: str, cause: str) -> None:
        """The unit failed once more."""
        now = self.clock()
        with self.database.write() as session:
            session.execute(delete(FailingUnitRow).where(FailingUnitRow.last_at < now - KEPT))
            statement = inserting(session, FailingUnitRow).values(
                sweep=sweep, unit=unit, cause=cause, failures=1, first_at=now, last_at=now
            )
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=[FailingUnitRow.sweep, FailingUnitRow.unit],
                    set_={"cause": cause, "failures": FailingUnitRow.failures + 1, "last_at": now},
                )
            )

    def remove(self, sweep: str, unit: str) -> None:
        """The unit no longer fails, or is no more."""
        with self.database.write() as session:
            session.execute(delete(FailingUnitRow).where(FailingUnitRow.sweep == sweep, FailingUnitRow.unit == unit))

    def list(self, limit: int) -> tuple[FailingUnit, ...]:
        """Units that fail at present, the longest first."""
        statement = (
            select(FailingUnitRow)
            .where(FailingUnitRow.last_at >= self.clock() - FRESH)
            .order_by(FailingUnitRow.first_at, FailingUnitRow.unit)
            .limit(limit)
        )
        with self.database.read() as session:
            return tuple(
                FailingUnit(
                    sweep=row.sweep,
                    unit=row.unit,
                    cause=row.cause,
                    failures=row.failures,
                    first_at=row.first_at,
                    last_at=row.last_at,
                )
                for row in session.scalars(statement)
            )
