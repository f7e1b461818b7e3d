"""Performed procedure steps in the store: evidence once they have ended, final from then on. On both databases."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from store_bench import DATABASES, NO_LUNG, SERIES, START, Bench, instance, opened

from db import PerformedSeries, StaleState, StepEvent, StepState
from db.rows import PerformedSeriesRow, PerformedStepRow

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


def test_old_steps_are_removed_ended_or_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By when they ended, or else began; more than go at once; a young one stays, and its list with it."""
    monkeypatch.setattr("db.store.performed_steps._AT_ONCE", 2)
    steps, old = bench.store.performed_steps, [f"{STEP}.{number}" for number in range(5)]
    for uid in [*old, STEP]:
        steps.begin(uid, MODALITY)
        steps.update(uid, MODALITY, _listing(1), None)
    for uid in old[:2]:
        steps.update(uid, MODALITY, [], StepEvent.DISCONTINUE)
    moment = bench.clock.advance(1)
    steps.update(STEP, MODALITY, _listing(1, 2), StepEvent.COMPLETE)
    steps.begin(OTHER_STEP, MODALITY)
    assert steps.remove(START) == 0
    assert steps.remove(moment) == len(old)
    assert [steps.state(uid) for uid in [*old, STEP, OTHER_STEP]] == [
        *[None] * len(old),
        StepState.COMPLETED,
        StepState.IN_PROGRESS,
    ]
    bench.store.intake.record_instance(instance(1))
    assert _announced(bench) == (2, 1)
    with pytest.raises(StaleState):
        steps.update(old[4], MODALITY, _listing(1), StepEvent.COMPLETE)
    assert steps.remove(moment + timedelta(days=1)) == 1  # the one that names no series that is being received
    assert (bench.count(PerformedStepRow), bench.count(PerformedSeriesRow)) == (1, 1)


def test_step_stays_while_a_series_of_it_is_being_received(bench: Bench) -> None:
    """However old; also where another of its series has ended. With its last series complete it goes."""
    steps, after = bench.store.performed_steps, START + timedelta(days=999)
    other = f"{SERIES}.7"
    both = [*_listing(1, 2), PerformedSeries(series_instance_uid=other, sop_instance_uids=frozenset({f"{other}.1"}))]
    steps.begin(STEP, MODALITY)
    steps.update(STEP, MODALITY, both, StepEvent.COMPLETE)
    bench.store.intake.exclude(other, bench.complete(other), NO_LUNG)
    bench.store.intake.record_instance(instance(1))
    assert steps.remove(after) == 0
    assert _announced(bench) == (2, 1)
    bench.store.intake.mark_complete(SERIES, 1, "quiet")
    assert steps.remove(after) == 1
    assert (bench.count(PerformedStepRow), bench.count(PerformedSeriesRow)) == (0, 0)
