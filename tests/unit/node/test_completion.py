"""A series is complete on evidence: geometry, associations and quiet time, and it never waits for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.series import find_gaps
from db import Arrival, SeriesEvidence
from dicom_node.completion.evidence import CompletionDecision, judge
from dicom_node.completion.pacs_counts import PacsAnswer
from dicom_node.settings import Completion

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SETTINGS = Completion(quiet_s=5, incomplete_quiet_s=120)
WHOLE = (0.0, 2.0, 4.0, 6.0, 8.0)
GAPPED = (0.0, 2.0, 6.0, 8.0)


def _evidence(count: int, quiet_s: float, open_associations: int = 0) -> SeriesEvidence:
    return SeriesEvidence(
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        revision=1,
        modality="CT",
        instance_count=max(1, count),
        last_received_at=NOW - timedelta(seconds=quiet_s),
        open_associations=open_associations,
    )


def _judge(
    positions: tuple[float, ...],
    quiet_s: float,
    open_associations: int = 0,
    pacs: PacsAnswer | None = None,
    **changes: Any,
) -> CompletionDecision:
    evidence = replace(_evidence(len(positions), quiet_s, open_associations), **changes)
    return judge(evidence, Arrival(slice_positions=positions), SETTINGS, NOW, pacs)


@pytest.mark.parametrize(
    ("positions", "quiet_s", "open_associations", "complete"),
    [
        (WHOLE, 4.9, 0, False),  # another association may follow at once
        (WHOLE, 5.0, 0, True),
        (WHOLE, 60.0, 1, False),  # the association that brought it may bring more
        (WHOLE, 120.0, 1, True),  # ... but not for ever
        (GAPPED, 60.0, 0, False),  # a slice is missing and may still come
        (GAPPED, 120.0, 0, True),  # taken as it is, for screening to name the gap
        (GAPPED, 119.9, 2, False),
        ((), 5.0, 0, True),  # no geometry to wait for: PT as a whole, or a document
        ((4.0,), 5.0, 0, True),  # a single slice, such as a localizer
        ((0.0, 0.0, 2.0, 2.0, 4.0), 5.0, 0, True),  # two images at one position are no gap
    ],
)
def test_decision_by_table(
    positions: tuple[float, ...], quiet_s: float, open_associations: int, complete: bool
) -> None:
    """Each row of the rule: without gaps and closed after quiet_s, otherwise after incomplete_quiet_s."""
    assert _judge(positions, quiet_s, open_associations).complete is complete


def test_reason_names_the_gap_and_the_time_to_look_again() -> None:
    """Someone who asks why nothing happens yet is told what is missing and until when it is waited for."""
    decision = _judge(GAPPED, 10)
    assert "1 missing" in decision.why
    assert decision.wait_until == NOW + timedelta(seconds=110)
    taken = _judge(GAPPED, 130)
    assert "taken as it is" in taken.why
    assert taken.lacking == "1 missing by their positions"


@given(
    st.lists(st.floats(-2000, 2000), max_size=20).map(lambda values: tuple(sorted(values))),
    st.floats(0, 1000),
    st.integers(0, 5),
    st.floats(0, 100),
    st.floats(0, 300),
)
def test_nothing_waits_for_ever_and_nothing_starts_before_its_quiet_time(
    positions: tuple[float, ...], quiet_s: float, open_associations: int, least_s: float, longest_s: float
) -> None:
    """Whatever the evidence: never complete before quiet_s, always after the longer time, and at wait_until."""
    settings = Completion(quiet_s=least_s, incomplete_quiet_s=longest_s)
    evidence, arrival = _evidence(len(positions), quiet_s, open_associations), Arrival(slice_positions=positions)
    decision = judge(evidence, arrival, settings, NOW)
    quiet = NOW - evidence.last_received_at
    if quiet < timedelta(seconds=least_s):
        assert not decision.complete
    if quiet >= timedelta(seconds=max(least_s, longest_s)):
        assert decision.complete
    assert decision.complete is (decision.wait_until is None)
    if decision.wait_until is not None:
        assert decision.wait_until > NOW
        assert judge(evidence, arrival, settings, decision.wait_until).complete


@given(st.integers(5, 60), st.floats(0.5, 10), st.data())
def test_each_lost_slice_is_counted(count: int, step_mm: float, data: st.DataObject) -> None:
    """Of a regular stack, every inner slice that is lost is missed, as long as most steps are whole."""
    lost = data.draw(st.integers(1, count - 2))
    positions = tuple(index * step_mm for index in range(count) if index != lost)
    assert sum(gap.slices for gap in find_gaps(positions)) == 1
    assert find_gaps(tuple(index * step_mm for index in range(count))) == ()


@pytest.mark.parametrize(
    ("listed", "missing", "quiet_s", "open_associations", "complete"),
    [
        (5, 0, 0.0, 1, True),  # everything that the modality made is here: nothing to wait for
        (6, 1, 60.0, 0, False),  # the volume looks whole, but one is on its way
        (6, 1, 120.0, 0, True),  # ... and did not come
    ],
)
def test_what_the_modality_lists_decides(
    listed: int, missing: int, quiet_s: float, open_associations: int, complete: bool
) -> None:
    """A performed procedure step that has ended is better evidence than geometry and quiet."""
    decision = _judge(WHOLE, quiet_s, open_associations, announced_instances=listed, announced_missing=missing)
    assert decision.complete is complete
    assert "of the modality's list" in decision.why


@pytest.mark.parametrize(
    ("positions", "answer", "quiet_s", "complete"),
    [
        (WHOLE, PacsAnswer(instances=5, pending=False), 5.0, True),
        (WHOLE, PacsAnswer(instances=5, pending=False), 4.9, False),  # the PACS may be receiving itself
        (WHOLE, PacsAnswer(instances=7, pending=False), 60.0, False),  # two more are to come
        (WHOLE, PacsAnswer(instances=7, pending=False), 120.0, True),  # ... and did not
        (WHOLE, PacsAnswer(instances=3, pending=False), 5.0, True),  # the PACS is behind, the volume is whole
        (GAPPED, PacsAnswer(instances=4, pending=False), 5.0, True),  # the PACS has the same gap: no use to wait
        (GAPPED, PacsAnswer(instances=None, pending=False), 60.0, False),  # it does not tell: as without it
        (WHOLE, PacsAnswer(instances=None, pending=True), 5.0, False),  # the answer is on its way
        (WHOLE, PacsAnswer(instances=None, pending=True), 20.0, True),  # ... but not for ever
        (WHOLE, PacsAnswer(instances=None, pending=False), 5.0, True),  # the PACS is away
    ],
)
def test_what_the_pacs_has_decides(
    positions: tuple[float, ...], answer: PacsAnswer, quiet_s: float, complete: bool
) -> None:
    """More there than here is waited for; no more there ends the wait for a gap; no answer changes nothing."""
    assert _judge(positions, quiet_s, pacs=answer).complete is complete


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=12).map(lambda values: tuple(sorted(values)))
)
def test_positions_that_make_no_sense_break_nothing(positions: tuple[float, ...]) -> None:
    """Any finite numbers: an answer, and gaps that are counted in bounds."""
    assert _judge(positions, 130).complete
    assert all(1 <= gap.slices <= 10_000 for gap in find_gaps(positions))


def test_association_that_broke_off_is_no_evidence_of_completeness() -> None:
    """A volume without gaps whose sender was cut off: the long wait, and a note; unless the PACS has as many."""
    broken = Arrival(slice_positions=WHOLE, broken_off=True)
    decision = judge(_evidence(5, 10), broken, SETTINGS, NOW)
    assert (decision.complete, decision.wait_until) == (False, NOW + timedelta(seconds=110))
    taken = judge(_evidence(5, 130), broken, SETTINGS, NOW)
    assert (taken.complete, taken.lacking) == (True, "the association that brought it broke off")
    assert judge(_evidence(5, 10), broken, SETTINGS, NOW, PacsAnswer(instances=5, pending=False)).complete
