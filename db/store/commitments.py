"""Storage commitments: requests that were taken, and answers on their way."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from db.actor import Actor
from db.commitment import CommitmentEvent, CommitmentRequest, CommitmentState, StoredCommitment
from db.errors import StaleState
from db.rows import CommitmentRow
from db.store.lookup import first_of_states
from db.store.room import Room
from db.store.transitions import Note, record_event, transition

__all__ = ["Commitments"]

ANSWERING_LEASE_S = 600.0
"""Who answers and is silent for so long is gone; the answer is tried again."""
_COMMITMENT = "commitment"
_NAMES = tuple(StoredCommitment.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments(Room):
    """What peers asked to have confirmed, and what became of it."""

    def request(self, request: CommitmentRequest, *, max_attempts: int, begin: bool) -> StoredCommitment:
        """Remember a request, or find the one that the peer repeats; ``begin``: who asks answers it now.

        A repeated request whose answer is on its way stays as it is, and is not begun.

        Raises:
            StaleState: the peer used the transaction's UID for other instances before.
        """
        now = self.clock()
        note = Note(at=now, actor=Actor.peer(request.calling_ae_title))
        references = [list(pair) for pair in request.references]
        with self.database.write() as session:
            row = session.scalar(
                select(CommitmentRow).where(
                    CommitmentRow.calling_ae_title == request.calling_ae_title,
                    CommitmentRow.transaction_uid == request.transaction_uid,
                )
            )
            if row is None:
                row = _new_row(request, references, max_attempts, now)
                session.add(row)
                session.flush()
                moved = (None, CommitmentState.PENDING.value)
                record_event(session, _COMMITMENT, row.id, "request", note, moved=moved)
            elif row.references != references:
                raise StaleState(f"Transaction {request.transaction_uid} was used for other instances.")
            elif row.state in {CommitmentState.ANSWERED.value, CommitmentState.FAILED.value}:
                transition(session, row, CommitmentEvent.REPEAT, note, attempt=0, not_before=now, cause=None)
            if begin and row.state == CommitmentState.PENDING.value:
                _begin(session, row, note)
            return _commitment_of(row)

    def peers_waiting(self, now: datetime) -> tuple[str, ...]:
        """The AE titles of the peers that an answer is due for."""
        statement = select(CommitmentRow.calling_ae_title).where(_is_due(now)).distinct()
        with self.database.read() as session:
            return tuple(sorted(session.scalars(statement)))

    def claim(self, calling_ae_title: str, now: datetime) -> StoredCommitment | None:
        """The peer's first answer that is due, begun by who asks and his for ``ANSWERING_LEASE_S`` seconds."""
        statement = (
            select(CommitmentRow)
            .where(_is_due(now), CommitmentRow.calling_ae_title == calling_ae_title)
            .order_by(CommitmentRow.not_before, CommitmentRow.id)
            .limit(1)
        )
        with self.database.write() as session:
            row = session.scalar(statement.with_for_update(skip_locked=True))
            if row is None:
                return None
            note = Note(at=now, actor=Actor.process(_COMMITMENT))
            if row.state == CommitmentState.ANSWERING.value:
                transition(session, row, CommitmentEvent.RETRY, note, cause="who answered fell silent")
            _begin(session, row, note)
            return _commitment_of(row)

    def answered(self, commitment: StoredCommitment, *, committed: int, failed: int) -> StoredCommitment:
        """The peer has confirmed the answer of this attempt: so many instances are safe, so many are not.

        Raises:
            StaleState: another attempt has taken over.
        """
        now = self.clock()
        with self.database.write() as session:
            row = _held(session, commitment)
            transition(
                session,
                row,
                CommitmentEvent.CONFIRM,
                Note(at=now, actor=Actor.process(_COMMITMENT)),
                answered_at=now,
                lease_expires_at=None,
                cause=None,
                committed_count=committed,
                failed_count=failed,
            )
            return _commitment_of(row)

    def failed(
        self, commitment: StoredCommitment, cause: str, *, transient: bool, retry_delay_s: float
    ) -> StoredCommitment:
        """The peer did not get the answer: again later if transient and attempts are left, else a dead letter.

        Raises:
            StaleState: another attempt has taken over.
        """
        now = self.clock()
        note = Note(at=now, actor=Actor.process(_COMMITMENT), detail=cause)
        with self.database.write() as session:
            row = _held(session, commitment)
            if transient and row.attempt < row.max_attempts:
                later = now + timedelta(seconds=retry_delay_s)
                changes: dict[str, Any] = {"not_before": later}
                happened = CommitmentEvent.RETRY
            else:
                changes, happened = {}, CommitmentEvent.GIVE_UP
            transition(session, row, happened, note, cause=cause, lease_expires_at=None, **changes)
            return _commitment_of(row)

    def list(
        self, states: Collection[CommitmentState] | None = None, limit: int | None = None
    ) -> tuple[StoredCommitment, ...]:
        """Commitments in these states (none given: in any), the newest first."""
        newest = (CommitmentRow.id.desc(),)
        statement = first_of_states(select(CommitmentRow), CommitmentRow, states, newest, limit)
        with self.database.read() as session:
            return tuple(_commitment_of(row) for row in session.scalars(statement))


def _is_due(now: datetime) -> ColumnElement[bool]:
    waiting = (CommitmentRow.state == CommitmentState.PENDING.value) & (CommitmentRow.not_before <= now)
    abandoned = (CommitmentRow.state == CommitmentState.ANSWERING.value) & (CommitmentRow.lease_expires_at < now)
    return or_(waiting, abandoned)


def _begin(session: Session, row: CommitmentRow, note: Note) -> None:
    lease = note.at + timedelta(seconds=ANSWERING_LEASE_S)
    transition(session, row, CommitmentEvent.START, note, attempt=row.attempt + 1, lease_expires_at=lease)


def _held(session: Session, commitment: StoredCommitment) -> CommitmentRow:
    row = session.get(CommitmentRow, commitment.id)
    if row is None or row.attempt != commitment.attempt:
        raise StaleState(f"Commitment {commitment.id} is at another attempt than {commitment.attempt}.")
    return row


def _new_row(
    request: CommitmentRequest, references: list[list[str]], max_attempts: int, now: datetime
) -> CommitmentRow:
    return CommitmentRow(
        transaction_uid=request.transaction_uid,
        calling_ae_title=request.calling_ae_title,
        called_ae_title=request.called_ae_title,
        address=request.address,
        references=references,
        state=CommitmentState.PENDING.value,
        attempt=0,
        max_attempts=max_attempts,
        not_before=now,
        requested_at=now,
    )


def _commitment_of(row: CommitmentRow) -> StoredCommitment:
    values: dict[str, Any] = {name: getattr(row, name) for name in _NAMES}
    values["state"] = CommitmentState(row.state)
    values["references"] = tuple((sop_class, instance) for sop_class, instance in row.references)
    return StoredCommitment(**values)
