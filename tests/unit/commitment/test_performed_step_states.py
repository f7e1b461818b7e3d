"""The life of a performed procedure step, as data."""

from itertools import product

import pytest

from db import STEP_TRANSITIONS, StepEvent, StepState

ALLOWED = {("IN PROGRESS", "complete", "COMPLETED"), ("IN PROGRESS", "discontinue", "DISCONTINUED")}


@pytest.mark.parametrize(("state", "event"), list(product(StepState, StepEvent)))
def test_every_pair_of_state_and_event(state: StepState, event: StepEvent) -> None:
    """A step ends once; what has ended is final."""
    after = STEP_TRANSITIONS.get((state, event))
    assert ((state, event, after) in ALLOWED) == (after is not None)
