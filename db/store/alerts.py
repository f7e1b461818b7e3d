"""Alerts, and what readers make of them."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import select

from alerts.alert import AlertEvent, AlertState
from db.engine import Database
from db.errors import StaleState
from db.rows import AlertRow
from db.store.records import alert_of, all_of
from db.store.transitions import Note, transition
from db.values import StoredAlert


class Alerts:
    """The alert log: at most one alert a series."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, states: Collection[AlertState] | None = None) -> tuple[StoredAlert, ...]:
        """Alerts in these states (None: in any), the newest first."""
        statement = select(AlertRow).order_by(AlertRow.created_at.desc(), AlertRow.id.desc())
        if states is not None:
            statement = statement.where(AlertRow.state.in_([state.value for state in states]))
        with self._database.read() as session:
            return all_of(session.scalars(statement), alert_of)

    def get(self, alert_id: int) -> StoredAlert | None:
        """One alert; None where there is none of that number."""
        with self._database.read() as session:
            row = session.get(AlertRow, alert_id)
            return None if row is None else alert_of(row)

    def acknowledge(self, alert_id: int, who: str, note: str | None = None) -> StoredAlert:
        """A reader takes the case up.

        Raises:
            StaleState: there is no such alert, or it is not open.
        """
        return self._decide(alert_id, AlertEvent.ACKNOWLEDGE, who, note)

    def dismiss(self, alert_id: int, who: str, note: str | None = None) -> StoredAlert:
        """A reader finds nothing to act upon.

        Raises:
            StaleState: there is no such alert, or it can no longer be dismissed.
        """
        return self._decide(alert_id, AlertEvent.DISMISS, who, note)

    def _decide(self, alert_id: int, happened: AlertEvent, who: str, note: str | None) -> StoredAlert:
        now = datetime.now(UTC)
        with self._database.write() as session:
            row = session.get(AlertRow, alert_id)
            if row is None:
                raise StaleState(f"There is no alert {alert_id}.")
            transition(
                session,
                row,
                happened,
                Note(at=now, actor=who),
                updated_at=now,
                decided_at=now,
                decided_by=who,
                note=note,
            )
            return alert_of(row)
