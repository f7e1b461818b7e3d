"""Flagged cases, and what readers make of them. Of two who decide at once one wins, and the other is told who and when.

The readers' words may name the patient: they stay in the alert, and out of the events.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from alerts.alert import ALERT_TRANSITIONS, DECIDED, AlertEvent, AlertState
from alerts.delivery import Occasion
from db.account import is_user_name
from db.actor import Actor
from db.errors import DecidedAlready, StaleState
from db.feedback import DismissalReason
from db.job import IMPORTED
from db.rows import AlertRow
from db.rows.outbound import UNSEEN
from db.store.conversion import alert_of
from db.store.flagging import UNDECIDED_YET, flagged_series, supersede
from db.store.lookup import first_of_states
from db.store.messages import queue_messages, to_tell_again, withdraw
from db.store.room import Room
from db.store.transitions import Note, transition
from db.values import FlaggedSeries, SeenAlert, StoredAlert

__all__ = ["UNDO_WITHIN", "Alerts"]

UNDO_WITHIN = timedelta(minutes=10)
"""Who has decided may take it back for so long."""
_ESCALATION = Actor.process("escalation")
_UNDOING = Actor.process("undo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts(Room):
    """Alerts: at most one a study."""

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

    def flagged(self, study_instance_uid: str) -> tuple[FlaggedSeries, ...]:
        """What the study's alert rests on: its series that are flagged now, the most pressing first."""
        with self.database.read() as session:
            return flagged_series(session, study_instance_uid)

    def acknowledge(
        self,
        alert_id: int,
        who: str,
        note: str = "",
        *,
        seen: SeenAlert | None = None,
        tell: Collection[str] = (),
    ) -> StoredAlert:
        """A reader takes the case up; the destinations ``tell`` are sent a message.

        ``seen``: what he decides upon; something else by now is not decided.

        Raises:
            DecidedAlready: somebody was faster.
            StaleState: it has moved on otherwise, or there is none.
        """
        return self._decide(alert_id, AlertEvent.ACKNOWLEDGE, who, note, seen, tell=tell)

    def dismiss(
        self, alert_id: int, who: str, note: str = "", *, reason: DismissalReason, seen: SeenAlert | None = None
    ) -> StoredAlert:
        """A reader finds nothing to act upon, for this reason; who was told of the case is told so.

        Raises:
            DecidedAlready, StaleState: as ``acknowledge``.
        """
        return self._decide(alert_id, AlertEvent.DISMISS, who, note, seen, detail=reason.value, reason=reason.value)

    def pass_on(
        self, alert_id: int, who: str, note: str = "", *, to: str, seen: SeenAlert | None = None
    ) -> StoredAlert:
        """A reader leaves the case to another one. ``ValueError`` for what is no user's name.

        Raises:
            DecidedAlready, StaleState: as ``acknowledge``.
        """
        if not is_user_name(to):
            raise ValueError("a case is passed on to a user: letters, digits and . _ @ + -, at most 64")
        return self._decide(alert_id, AlertEvent.PASS_ON, who, note, seen, detail=f"to {to}", passed_to=to)

    def undo(self, alert_id: int, who: str) -> StoredAlert:
        """Who decided in the last ten minutes takes it back: the case is open again, and undecided.

        Whoever was not told of it because it had been dismissed, or was told that it had been, is told now. Where none
        of its results in force is flagged any more there is nothing to decide: it is superseded.

        Raises:
            StaleState: it was decided by somebody else, or earlier; it has moved on, or there is none.
        """
        now = self.clock()
        with self.database.write() as session:
            row = _locked(session, alert_id)
            if row.decided_by is not None and row.decided_by != who:
                raise DecidedAlready(_who_and_when(row))
            if row.decided_at is not None and now - row.decided_at > UNDO_WITHIN:
                raise StaleState(f"Alert {alert_id} was decided more than ten minutes ago.")
            note = Note(at=now, actor=Actor.user(who))
            transition(session, row, AlertEvent.UNDO, note, updated_at=now, **UNDECIDED_YET)
            if flagged_series(session, row.study_instance_uid):
                queue_messages(session, row, Occasion.FLAGGED, to_tell_again(session, row), note)
            else:
                supersede(session, row, replace(note, actor=_UNDOING))
            return alert_of(row)

    def overdue(self, limit: int) -> tuple[int, ...]:
        """The alerts that nobody has looked at in the time that their category allows, the longest overdue first."""
        with self.database.read() as session:
            unseen = (text(UNSEEN), AlertRow.due_at < self.clock(), AlertRow.calling_ae_title != IMPORTED)
            late = select(AlertRow.id).where(*unseen)
            return tuple(session.scalars(late.order_by(AlertRow.due_at).limit(limit)))

    def escalate(self, alert_id: int, *, tell: Collection[str] = ()) -> StoredAlert | None:
        """The alert is overdue and nobody has looked at it: it is ESCALATED. None where somebody has by now.

        The destinations ``tell`` are sent a message about it, asked for in the same transaction.
        """
        now = self.clock()
        with self.database.write() as session:
            row = _locked(session, alert_id)
            arrow = (AlertState(row.state), AlertEvent.ESCALATE) in ALERT_TRANSITIONS
            if not arrow or row.opened_at is not None or row.due_at >= now:
                return None
            note = Note(at=now, actor=_ESCALATION, detail=f"category {row.category}")
            transition(session, row, AlertEvent.ESCALATE, note, updated_at=now)
            queue_messages(session, row, Occasion.ESCALATED, tell, note)
            return alert_of(row)

    def _decide(
        self,
        alert_id: int,
        event: AlertEvent,
        who: str,
        note: str,
        seen: SeenAlert | None,
        *,
        detail: str | None = None,
        tell: Collection[str] = (),
        **more: Any,
    ) -> StoredAlert:
        now = self.clock()
        with self.database.write() as session:
            row = _locked(session, alert_id)
            other = seen is not None and (row.state, row.result_id) != (seen.state, seen.result_id)
            if row.state in DECIDED and (other or (AlertState(row.state), event) not in ALERT_TRANSITIONS):
                raise DecidedAlready(_who_and_when(row))
            if other:
                raise StaleState(f"Alert {alert_id} is {row.state} by now, or of a newer result: look at it again.")
            decided = {
                **UNDECIDED_YET,
                "decided_at": now,
                "decided_by": who,
                "note": note or None,
                "updated_at": now,
                "judged": row.alert,
                **more,
            }
            decision = Note(at=now, actor=Actor.user(who), detail=detail)
            transition(session, row, event, decision, **decided)
            queue_messages(session, row, Occasion.TAKEN_UP, tell, decision)
            if event is AlertEvent.DISMISS:
                withdraw(session, row, decision)
            return alert_of(row)


def _locked(session: Session, alert_id: int) -> AlertRow:
    row = session.scalar(select(AlertRow).where(AlertRow.id == alert_id).with_for_update())
    if row is None:
        raise StaleState(f"There is no alert {alert_id}.")
    return row


def _who_and_when(row: AlertRow) -> str:
    at = "" if row.decided_at is None else f" at {row.decided_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Alert {row.id} is {row.state.replace('_', ' ')} by {row.decided_by}{at}."
