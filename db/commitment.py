"""A storage commitment: what a peer asked to have confirmed, and the life of the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["COMMITMENT_TRANSITIONS", "CommitmentEvent", "CommitmentRequest", "CommitmentState", "StoredCommitment"]


class CommitmentState(StrEnum):
    """Where the answer to a request stands."""

    PENDING = "pending"
    ANSWERING = "answering"
    ANSWERED = "answered"
    FAILED = "failed"


class CommitmentEvent(StrEnum):
    """What can happen to it."""

    START = "start"
    CONFIRM = "confirm"
    RETRY = "retry"
    GIVE_UP = "give_up"
    REPEAT = "repeat"


COMMITMENT_TRANSITIONS: dict[tuple[CommitmentState, CommitmentEvent], CommitmentState] = {
    # somebody looks what is durable and tells the peer
    (CommitmentState.PENDING, CommitmentEvent.START): CommitmentState.ANSWERING,
    # the peer has confirmed that it got the answer
    (CommitmentState.ANSWERING, CommitmentEvent.CONFIRM): CommitmentState.ANSWERED,
    # the peer was not reached, or who answered fell silent: again, after a while
    (CommitmentState.ANSWERING, CommitmentEvent.RETRY): CommitmentState.PENDING,
    # the peer refuses the answer, or too many attempts: a dead letter that names its cause
    (CommitmentState.ANSWERING, CommitmentEvent.GIVE_UP): CommitmentState.FAILED,
    # the peer asks the same again: it lost the answer
    (CommitmentState.ANSWERED, CommitmentEvent.REPEAT): CommitmentState.PENDING,
    (CommitmentState.FAILED, CommitmentEvent.REPEAT): CommitmentState.PENDING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """What a peer asks: are these instances, pairs of SOP Class UID and SOP Instance UID, safely stored?"""

    transaction_uid: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    references: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommitment:
    """A request and its answer. ``attempt`` counts the answers that were begun; the counts are of the last one."""

    id: int
    transaction_uid: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    references: tuple[tuple[str, str], ...]
    state: CommitmentState
    attempt: int
    max_attempts: int
    not_before: datetime
    cause: str | None
    committed_count: int | None
    failed_count: int | None
    requested_at: datetime
    answered_at: datetime | None
