"""The queue of answers to storage commitment requests, on SQLite."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db import CommitmentRequest, CommitmentState, StaleState, Store, current_revision, upgrade
from db.engine import HEAD
from db.store.commitments import ANSWERING_LEASE_S

REQUEST = CommitmentRequest(
    transaction_uid="1.2.3",
    calling_ae_title="CT1",
    called_ae_title="LUNGSENTRY",
    address="10.0.0.1",
    references=[("1.2.840.10008.5.1.4.1.1.2", "1.2.3.1"), ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.2")],
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'state.sqlite3'}"
    upgrade(url)
    assert current_revision(url) == HEAD
    with Store.open(url) as opened:
        yield opened


def now() -> datetime:
    return datetime.now(UTC)


def test_a_request_that_is_begun_is_not_due(store: Store) -> None:
    """Who took the request answers it; nobody else gets it, until he has been silent for his lease."""
    taken = store.commitments.request(REQUEST, max_attempts=3, begin=True)

    assert (taken.state, taken.attempt, taken.references) == (CommitmentState.ANSWERING, 1, tuple(REQUEST.references))
    assert store.commitments.claim("CT1", now()) is None

    assert store.commitments.peers_waiting(now() + timedelta(seconds=ANSWERING_LEASE_S + 1)) == ("CT1",)
    again = store.commitments.claim("CT1", now() + timedelta(seconds=ANSWERING_LEASE_S + 1))
    assert again is not None
    assert (again.id, again.attempt) == (taken.id, 2)
    with pytest.raises(StaleState):
        store.commitments.answered(taken, committed=2, failed=0)


def test_an_answer_that_is_confirmed_is_over(store: Store) -> None:
    """The counts of the answer are kept, and it is never due again."""
    taken = store.commitments.request(REQUEST, max_attempts=3, begin=True)

    done = store.commitments.answered(taken, committed=1, failed=1)

    assert (done.state, done.committed_count, done.failed_count) == (CommitmentState.ANSWERED, 1, 1)
    assert done.answered_at is not None
    assert store.commitments.claim("CT1", now() + timedelta(days=1)) is None


def test_attempts_are_counted_up_to_the_dead_letter(store: Store) -> None:
    """A transient failure is due again after its delay; the last attempt ends with the cause named."""
    store.commitments.request(REQUEST, max_attempts=2, begin=False)
    first = store.commitments.claim("CT1", now())

    assert first is not None
    later = store.commitments.failed(first, "no answer", transient=True, retry_delay_s=60)

    assert later.state is CommitmentState.PENDING
    assert store.commitments.claim("CT1", now()) is None
    second = store.commitments.claim("CT1", now() + timedelta(seconds=61))
    assert second is not None
    ended = store.commitments.failed(second, "no answer", transient=True, retry_delay_s=60)
    assert (ended.state, ended.cause) == (CommitmentState.FAILED, "no answer")


def test_a_permanent_failure_ends_at_once(store: Store) -> None:
    """What cannot become better is not tried again."""
    taken = store.commitments.request(REQUEST, max_attempts=9, begin=True)
    assert store.commitments.failed(taken, "refused", transient=False, retry_delay_s=1).state is CommitmentState.FAILED


def test_a_repeated_request_is_answered_again(store: Store) -> None:
    """A peer that lost the answer asks again and gets it, under the same row; one on its way goes on."""
    taken = store.commitments.request(REQUEST, max_attempts=3, begin=True)
    assert store.commitments.request(REQUEST, max_attempts=3, begin=True) == taken
    store.commitments.answered(taken, committed=2, failed=0)

    again = store.commitments.request(REQUEST, max_attempts=3, begin=False)

    assert (again.id, again.state, again.attempt) == (taken.id, CommitmentState.PENDING, 0)


def test_a_transaction_is_not_used_twice(store: Store) -> None:
    """The same UID for other instances is refused; another peer may use it."""
    store.commitments.request(REQUEST, max_attempts=3, begin=False)
    with pytest.raises(StaleState):
        store.commitments.request(replace(REQUEST, references=REQUEST.references[:1]), max_attempts=3, begin=False)
    store.commitments.request(replace(REQUEST, calling_ae_title="CT2"), max_attempts=3, begin=False)
    assert len(store.commitments.list()) == 2
