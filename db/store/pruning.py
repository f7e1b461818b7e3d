"""What goes once it is old: events, jobs without a result, answered commitments, closed associations, refusals."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, select, update

from db.commitment import CommitmentState
from db.job import JobState
from db.rows import (
    AlertRow,
    AssociationRow,
    AssociationSeriesRow,
    CommitmentRow,
    EventRow,
    JobRow,
    RefusalRow,
    ResultRow,
)
from db.store.room import Room
from db.store.transitions import count_states

__all__ = ["AT_ONCE", "MOST_REFUSALS", "Pruning"]

AT_ONCE = 500
"""Rows removed in one transaction: on SQLite the receiver waits for it."""
MOST_REFUSALS = 10_000
"""Whoever calls under ever new names fills no more than this."""
_ALWAYS_KEPT = ("alert", "model", "peer")
"""Who decided what about a case, and who put a model or a peer in use, is asked for after years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning(Room):
    """Removes what is old, at most ``AT_ONCE`` rows a call; each answers how many it looked at.

    Fewer than that: there is no more. Every look begins where an index says, and passes over nothing that stays.
    """

    def events(self, before: datetime) -> int:
        """Events older than this. Those of decisions stay, and those of a series and its result in force."""
        old = (
            select(EventRow.id, EventRow.subject_kind, EventRow.series_instance_uid)
            .where(~EventRow.kept, EventRow.at < before)
            .order_by(EventRow.at)
            .limit(AT_ONCE)
        )
        with self.database.read() as session:  # no write lock is taken merely to look
            found = session.execute(old).all()
            series = {uid for _, kind, uid in found if uid and kind in ("series", "result")}
            stands = set(
                session.scalars(
                    select(ResultRow.series_instance_uid).where(
                        ResultRow.series_instance_uid.in_(series), ResultRow.superseded_at.is_(None)
                    )
                )
            )
            stands.update(
                session.scalars(select(AlertRow.series_instance_uid).where(AlertRow.series_instance_uid.in_(series)))
            )
        if not found:
            return 0
        stays = [
            number
            for number, kind, uid in found
            if kind in _ALWAYS_KEPT or (kind in ("series", "result") and uid in stands)
        ]
        with self.database.write() as session:
            session.execute(update(EventRow).where(EventRow.id.in_(stays)).values(kept=True))
            session.execute(delete(EventRow).where(EventRow.id.in_({one[0] for one in found}.difference(stays))))
        return len(found)

    def jobs(self, before: datetime) -> int:
        """Jobs that ended before this and that no result came of."""
        old = (
            select(JobRow.id, JobRow.state)
            .where(~JobRow.kept, JobRow.finished_at < before)
            .order_by(JobRow.finished_at)
            .limit(AT_ONCE)
        )
        with self.database.read() as session:
            found = session.execute(old).all()
        if not found:
            return 0
        with self.database.write() as session:
            gone = session.execute(
                delete(JobRow).where(JobRow.id.in_([one[0] for one in found]), ~JobRow.kept).returning(JobRow.state)
            ).all()
            for state in JobState:
                count_states(session, "job", {state.value: -sum(row[0] == state.value for row in gone)})
        return len(found)

    def commitments(self, before: datetime) -> int:
        """Requests for commitment that were made before this and are over."""
        over = [CommitmentState.ANSWERED.value, CommitmentState.FAILED.value]
        old = (
            select(CommitmentRow.id)
            .where(CommitmentRow.requested_at < before, CommitmentRow.state.in_(over))
            .order_by(CommitmentRow.requested_at)
            .limit(AT_ONCE)
        )
        with self.database.read() as session:
            found = session.scalars(old).all()
        if not found:
            return 0
        with self.database.write() as session:
            gone = session.execute(
                delete(CommitmentRow)
                .where(CommitmentRow.id.in_(found), CommitmentRow.state.in_(over))
                .returning(CommitmentRow.state)
            ).all()
            for state in over:
                count_states(session, "commitment", {state: -sum(row[0] == state for row in gone)})
        return len(found)

    def associations(self, before: datetime) -> int:
        """Associations that were closed before this, and what they brought to which series."""
        old = select(AssociationRow.association_id).where(AssociationRow.closed_at < before)
        with self.database.read() as session:
            found = session.scalars(old.order_by(AssociationRow.closed_at).limit(AT_ONCE)).all()
        if found:
            with self.database.write() as session:
                for table in (AssociationSeriesRow, AssociationRow):
                    session.execute(delete(table).where(table.association_id.in_(found)))
        return len(found)

    def refusals(self, before: datetime) -> int:
        """Callers that were last refused before this, and all but the last ``MOST_REFUSALS``."""
        with self.database.read() as session:
            newest = select(RefusalRow.last_at).order_by(RefusalRow.last_at.desc())
            surplus = session.scalar(newest.offset(MOST_REFUSALS).limit(1))
        last = RefusalRow.last_at < before
        which = last if surplus is None else or_(last, RefusalRow.last_at <= surplus)
        old = select(RefusalRow.id).where(which).order_by(RefusalRow.last_at).limit(AT_ONCE)
        with self.database.read() as session:
            found = session.scalars(old).all()
        if found:
            with self.database.write() as session:
                session.execute(delete(RefusalRow).where(RefusalRow.id.in_(found)))
        return len(found)
