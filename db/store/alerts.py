"""Flagged cases, and what readers make of them."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from alerts.alert import AlertEvent, AlertState
from db.actor import Actor
from db.errors import StaleState
from db.rows import AlertRow
from db.store.conversion import alert_of
from db.store.lookup import first_of_states
from db.store.room import Room
from db.store.transitions import Note, transition
from db.values import StoredAlert

__all__ = ["Alerts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts(Room):
    """Alerts: at most one a series."""

    def list(self, states: Collection[AlertState] | None = None, limit: int | None = None) -> tuple[StoredAlert, ...]:
        """Alerts in these states (none given: in all), the newest first."""
        statement = first_of_states(select(AlertRow), AlertRow, states, (AlertRow.id.desc(),), limit)
        with self.database.read() as session:
            return tuple(alert_of(row) for row in session.scalars(statement))

    def get(self, alert_id: int) -> StoredAlert | None:
        """The alert, if there is one."""
        with self.database.read() as session:
            row = session.get(AlertRow, alert_id)
            return None if row is None else alert_of(row)

    def acknowledge(self, alert_id: int, who: str, note: str = "") -> StoredAlert:
        """A reader takes the case up.

        Raises:
            StaleState: it has moved on, or there is none.
        """
        return self._decide(alert_id, AlertEvent.ACKNOWLEDGE, who, note)

    def dismiss(self, alert_id: int, who: str, note: str = "") -> StoredAlert:
        """A reader finds nothing to act upon.

        Raises:
            StaleState: it has moved on, or there is none.
        """
        return self._decide(alert_id, AlertEvent.DISMISS, who, note)

    def _decide(self, alert_id: int, event: AlertEvent, who: str, note: str) -> StoredAlert:
        now = self.clock()
        with self.database.write() as session:
            row = session.scalar(select(AlertRow).where(AlertRow.id == alert_id).with_for_update())
            if row is None:
                raise StaleState(f"There is no alert {alert_id}.")
            # the reader's words may name the patient: they stay in the alert, and out of the events
            decided = {
                "decided_at": now,
                "decided_by": who,
                "note": note or None,
                "updated_at": now,
                "judged": row.alert,
            }
            transition(session, row, event, Note(at=now, actor=Actor.user(who)), **decided)
            return alert_of(row)
