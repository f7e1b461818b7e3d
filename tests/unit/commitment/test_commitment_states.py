"""The life of an answer to a storage commitment request, as data."""

from itertools import product

import pytest

from db import COMMITMENT_TRANSITIONS, CommitmentEvent, CommitmentState

ALLOWED = {
    ("pending", "start", "answering"),
    ("answering", "confirm", "answered"),
    ("answering", "retry", "pending"),
    ("answering", "give_up", "failed"),
    ("answered", "repeat", "pending"),
    ("failed", "repeat", "pending"),
}


@pytest.mark.parametrize(("state", "event"), list(product(CommitmentState, CommitmentEvent)))
def test_every_pair_of_state_and_event(state: CommitmentState, event: CommitmentEvent) -> None:
    """Exactly the six arrows exist; every other pair has none."""
    after = COMMITMENT_TRANSITIONS.get((state, event))
    assert ((state, event, after) in ALLOWED) == (after is not None)
