"""Performed procedure steps in the store: evidence once they have ended, final from then on. On both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from store_bench import DATABASES, SERIES, Bench, instance, opened

from db import PerformedSeries, StaleState, StepEvent, StepState

STEP, OTHER_STEP = "1.2.840.1", "1.2.840.2"
MODALITY = "CT1"


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """An empty store."""
    with opened(request.param, tmp_path) as empty:
        yield empty


def _listing(*numbers: int) -> list[PerformedSeries]:
    uids = frozenset(f"{SERIES}.{number}" for number in numbers)
    return [PerformedSeries(series_instance_uid=SERIES, sop_instance_uids=uids)]


def _announced(bench: Bench) -> tuple[int | None, int]:
    (evidence,) = bench.store.intake.receiving_series()
    return evidence.announced_instances, evidence.announced_missing


def test_steps_tell_of_a_series_once_they_have_ended(bench: Bench) -> None:
    """In progress nothing is announced; ended, all that is listed; a list that comes again replaces; two steps add."""
    steps = bench.store.performed_steps
    bench.store.intake.record_instance(instance(1))
    steps.begin(STEP, MODALITY)
    steps.update(STEP, MODALITY, _listing(1, 2, 3, 4), None)
    assert _announced(bench) == (None, 0)
    steps.update(STEP, MODALITY, _listing(1, 2), StepEvent.COMPLETE)
    assert _announced(bench) == (2, 1)
    steps.begin(OTHER_STEP, MODALITY)
    steps.update(OTHER_STEP, MODALITY, _listing(3), StepEvent.DISCONTINUE)
    assert _announced(bench) == (3, 2)
    for number in (2, 3):
        bench.store.intake.record_instance(instance(number))
    assert _announced(bench) == (3, 0)


def test_what_has_ended_is_final(bench: Bench) -> None:
    """An ended step takes no more, a UID begins one step, an unknown one none; nothing is changed by a refusal."""
    steps = bench.store.performed_steps
    assert steps.state(STEP) is None
    steps.begin(STEP, MODALITY)
    steps.update(STEP, MODALITY, _listing(1), StepEvent.COMPLETE)
    before = bench.content()
    with pytest.raises(StaleState):
        steps.begin(STEP, MODALITY)
    for uid in (STEP, OTHER_STEP):
        with pytest.raises(StaleState):
            steps.update(uid, MODALITY, _listing(2), StepEvent.COMPLETE)
    assert bench.content() == before
    assert steps.state(STEP) is StepState.COMPLETED
