"""A series is complete on evidence: geometry, associations and quiet time, and it never waits for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import SeriesEvidence
from dicom_node.completion.evidence import judge, missing_slices
from dicom_node.completion.pacs_counts import PacsAnswer
from dicom_node.settings import Completion

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SETTINGS = Completion(quiet_s=5, incomplete_quiet_s=120)
WHOLE = (0.0, 2.0, 4.0, 6.0, 8.0)
GAPPED = (0.0, 2.0, 6.0, 8.0)


def _evidence(positions: tuple[float, ...], quiet_s: float, open_associations: int = 0) -> SeriesEvidence:
    return SeriesEvidence(
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        revision=1,
        modality="CT",
        instance_count=max(1, len(positions)),
        slice_positions=positions,
        last_received_at=NOW - timedelta(seconds=quiet_s),
        open_associations=open_associations,
        receiving_siblings=0,
    )


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
    assert judge(_evidence(positions, quiet_s, open_associations), SETTINGS, NOW).complete is complete


def test_reason_names_the_gap_and_the_time_to_look_again() -> None:
    """Someone who asks why nothing happens yet is told what is missing and until when it is waited for."""
    decision = judge(_evidence(GAPPED, 10), SETTINGS, NOW)
    assert "1 missing" in decision.why
    assert decision.wait_until == NOW + timedelta(seconds=110)
    assert "taken as it is" in judge(_evidence(GAPPED, 130), SETTINGS, NOW).why


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
    evidence = _evidence(positions, quiet_s, open_associations)
    decision = judge(evidence, settings, NOW)
    quiet = NOW - evidence.last_received_at
    if quiet < timedelta(seconds=least_s):
        assert not decision.complete
    if quiet >= timedelta(seconds=max(least_s, longest_s)):
        assert decision.complete
    assert decision.complete is (decision.wait_until is None)
    if decision.wait_until is not None:
        assert decision.wait_until > NOW
        assert judge(evidence, settings, decision.wait_until).complete


@given(st.integers(5, 60), st.floats(0.5, 10), st.data())
def test_each_lost_slice_is_counted(count: int, step_mm: float, data: st.DataObject) -> None:
    """Of a regular stack, every inner slice that is lost is missed, as long as most steps are whole."""
    lost = data.draw(st.integers(1, count - 2))
    positions = tuple(index * step_mm for index in range(count) if index != lost)
    assert missing_slices(positions) == 1
    assert missing_slices(tuple(index * step_mm for index in range(count))) == 0


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
    evidence = replace(
        _evidence(WHOLE, quiet_s, open_associations), announced_instances=listed, announced_missing=missing
    )
    decision = judge(evidence, SETTINGS, NOW)
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
    evidence = _evidence(positions, quiet_s)
    assert judge(evidence, SETTINGS, NOW, answer).complete is complete
