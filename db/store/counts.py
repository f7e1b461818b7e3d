"""How many of each kind stand in which state: added up as they move, never counted over the rows."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.rows import StateCountRow
from db.store.room import Room
from db.store.transitions import count_states

__all__ = ["Counts", "counts_of"]

_WORTH_ADDING_UP = 200
"""So many rows are summed in no time."""


def counts_of(session: Session) -> dict[tuple[str, str], int]:
    """How many stand where, by kind and state."""
    total = select(StateCountRow.kind, StateCountRow.state, func.sum(StateCountRow.count))
    rows = session.execute(total.group_by(StateCountRow.kind, StateCountRow.state))
    return {(kind, state): int(count) for kind, state, count in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(Room):
    """Keeps the table of counts small."""

    def add_up(self) -> int:
        """Put one row in the place of many; how many there were. What is committed meanwhile stays as it is."""
        with self.database.read() as session:
            waiting = select(StateCountRow.id).limit(_WORTH_ADDING_UP + 1).subquery()
            if (session.scalar(select(func.count()).select_from(waiting)) or 0) <= _WORTH_ADDING_UP:
                return 0
        sums: dict[tuple[str, str], int] = {}
        with self.database.write() as session:
            gone = session.execute(
                delete(StateCountRow).returning(StateCountRow.kind, StateCountRow.state, StateCountRow.count)
            ).all()
            for kind, state, count in gone:
                sums[kind, state] = sums.get((kind, state), 0) + count
            for (kind, state), count in sums.items():
                count_states(session, kind, {state: count})
        return len(gone)
