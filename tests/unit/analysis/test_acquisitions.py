"""One volume is made of one acquisition: what is interleaved under one series UID is told apart, or left out."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.series import Outcome, Rule, Series, choose_reconstruction, group_acquisitions, screen_headers
from analysis.series.acquisitions import slices_of
from analysis.series.series import FrameGeometry, StudyContext

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

FEW = settings(max_examples=int(os.environ.get("ACQUISITION_EXAMPLES", "12")), deadline=None)


def _marks(**changes: str) -> tuple[tuple[str, str], ...]:
    plain = {
        "Irradiation Event UID": "2.25.1",
        "Temporal Position Identifier": "1",
        "Nominal Percentage of Cardiac Phase": "40",
    }
    return tuple({**plain, **changes}.items())


TELLING = {
    "Convolution Kernel": {"convolution_kernel": "B70f"},
    "Acquisition Number": {"acquisition_number": 2},
    "Acquisition Time": {"acquired_at": NOON + timedelta(minutes=25)},
    "Irradiation Event UID": {"marks": _marks(**{"Irradiation Event UID": "2.25.2"})},
    "Temporal Position Identifier": {"marks": _marks(**{"Temporal Position Identifier": "2"})},
    "Nominal Percentage of Cardiac Phase": {"marks": _marks(**{"Nominal Percentage of Cardiac Phase": "70"})},
    "Slice Thickness": {"slice_thickness_mm": 4.0},
    "Pixel Spacing": {"pixel_spacing_mm": (0.8, 0.8)},
    "Rows and Columns": {"rows": 400, "columns": 400},
    "KVP": {"kvp": 80.0},
    "Contrast/Bolus Agent": {"contrast_bolus_agent": "Iomeprol"},
    "Series Description": {"series_description": "Thorax expiration"},
}
"""What a second acquisition, or reconstruction, says of itself; the first says what the factory does."""

FIRST = {"acquired_at": NOON, "marks": _marks()}


def _joined(one: Series, other: Series, order: list[int] | None = None) -> Series:
    """Both under one series UID, their instances in any order."""
    headers = [*one.headers, *other.headers]
    return Series(
        study_instance_uid=one.study_instance_uid,
        series_instance_uid=one.series_instance_uid,
        revision=1,
        headers=tuple(headers[index] for index in order) if order else tuple(headers),
        context=StudyContext(),
    )


def _outcome(series: Series, rule: Rule) -> tuple[Outcome, str]:
    return next((one.outcome, one.value) for one in screen_headers(series).results if one.rule is rule)


@pytest.fixture(scope="session")
def two(make_series):
    """Makes two volumes of one extent that lie ``offset_mm`` apart, the second with what tells it."""

    def make(offset_mm: float, second: dict[str, object], count: int = 60) -> tuple[Series, Series]:
        first = make_series(count, **FIRST)
        other = make_series(
            count,
            **{
                **FIRST,
                "sop_instance_uid": lambda index: f"1.2.9.{index + 1}",
                "image_position_patient_mm": lambda index: (-180.0, -180.0, 2.0 * index + offset_mm),
                **second,
            },
        )
        return first, other

    return make


@pytest.mark.parametrize("tag", TELLING)
@FEW
@given(offset_mm=st.floats(0.0, 1.99), shuffle=st.randoms(use_true_random=False))
def test_two_acquisitions_at_any_offset_are_told_apart(two, tag, offset_mm, shuffle):
    """Whatever tells them, however far apart and in whatever order they come: one is analysed, whole, and noted."""
    first, second = two(offset_mm, TELLING[tag])
    order = list(range(120))
    shuffle.shuffle(order)
    series = _joined(first, second, order)
    slices = slices_of(series)
    uids = {plane.header.sop_instance_uid for plane in slices.planes}
    assert uids in ({one.sop_instance_uid for one in made.headers} for made in (first, second))
    assert screen_headers(series).eligible
    outcome, value = _outcome(series, Rule.ACQUISITION)
    assert outcome is Outcome.NOTED
    assert tag in value


@FEW
@given(offset_mm=st.floats(0.0, 1.99))
def test_without_a_tag_the_numbering_tells_them_apart(two, offset_mm):
    """Two volumes that say the same of themselves were numbered one after the other."""
    series = _joined(*two(offset_mm, {"instance_number": lambda index: 61 + index}))
    assert len(slices_of(series).planes) == 60
    assert "Instance Number" in _outcome(series, Rule.ACQUISITION)[1]


@FEW
@given(offset_mm=st.floats(0.0, 0.3))
def test_what_nothing_tells_apart_is_left_out(two, offset_mm):
    """Slices in the same place or a hair apart, alike in every tag and number: two acquisitions, and no gap."""
    screening = screen_headers(_joined(*two(offset_mm, {})))
    assert not screening.eligible
    assert (screening.reason or "").startswith("slice positions")
    assert "missing" not in (screening.reason or "")


def test_two_kernels_in_two_phases_are_four_volumes(make_series):
    """Tags are asked one after the other, and the softest of the longest is taken."""
    parts = [
        make_series(
            30,
            sop_instance_uid=lambda index, name=f"{kernel}.{number}": f"{name}.{index}",
            convolution_kernel=kernel,
            acquisition_number=number,
            image_position_patient_mm=lambda index, number=number: (-180.0, -180.0, 2.0 * index + 0.1 * number),
        )
        for kernel in ("B70f", "B30f")
        for number in (1, 2)
    ]
    series = _joined(_joined(parts[0], parts[1]), _joined(parts[2], parts[3]))
    slices = slices_of(series)
    assert len(slices.planes) == 30
    assert len(slices.others) == 3
    assert slices.part.told_by == (("Convolution Kernel", "B30f"), ("Acquisition Number", "1"))


def test_kernels_that_make_no_volumes_are_left_out_by_name(make_series):
    """A kernel that changes without order is never averaged over."""
    series = make_series(convolution_kernel=lambda index: "B70f" if index % 7 in (0, 1) else "B30f")
    screening = screen_headers(series)
    assert screening.reason is not None
    assert screening.reason.startswith("one acquisition")
    assert "Convolution Kernel B30f, B70f" in screening.reason


@pytest.mark.parametrize("rotation", [1, 4])
def test_a_table_that_moves_step_by_step_makes_one_volume(make_series, rotation):
    """Acquisitions that follow one another, each with its number, event and time, are one volume."""
    series = make_series(
        acquisition_number=lambda index: 1 + index // rotation,
        marks=lambda index: (("Irradiation Event UID", f"2.25.{index // rotation}"),),
        acquired_at=lambda index: NOON + timedelta(seconds=8 * (index // rotation)),
    )
    assert len(slices_of(series).planes) == 120
    assert _outcome(series, Rule.ACQUISITION)[0] is Outcome.PASSED


@FEW
@given(shuffle=st.randoms(use_true_random=False))
def test_numbers_dealt_at_random_tell_nothing(make_series, shuffle):
    """De-identification may deal instance numbers anew; the volume is whole all the same."""
    numbers = list(range(1, 121))
    shuffle.shuffle(numbers)
    assert len(slices_of(make_series(instance_number=lambda index: numbers[index])).planes) == 120


@FEW
@given(offset_mm=st.floats(0.0, 1.99), kernel=st.booleans())
def test_frames_of_two_acquisitions_are_told_apart(make_series, offset_mm, kernel):
    """In one multi-frame instance the functional groups of each frame say what the headers say elsewhere."""
    frames = tuple(
        FrameGeometry(
            frame_number=index + 1,
            image_position_patient_mm=(-180.0, -180.0, 2.0 * (index // 2) + offset_mm * (index % 2)),
            image_orientation_patient=(1, 0, 0, 0, 1, 0),
            pixel_spacing_mm=(0.7, 0.7),
            slice_thickness_mm=2.0,
            rescale_slope=1.0,
            rescale_intercept=-1024.0,
            convolution_kernel="B70f" if kernel and index % 2 else "B30f",
            acquisition_number=1 if kernel else 1 + index % 2,
        )
        for index in range(120)
    )
    series = make_series(1, frames=frames, number_of_frames=120, frame_groups=120)
    slices = slices_of(series)
    assert {(plane.frame_number or 0) % 2 for plane in slices.planes} == {1}
    assert len(slices.planes) == 60
    assert screen_headers(series).eligible


def test_a_second_scan_is_no_other_reconstruction(make_series):
    """Several makers number every acquisition 1: the time, and the irradiation event, tell two scans apart."""
    early = make_series(acquired_at=NOON, series_instance_uid="9.1")
    late = make_series(acquired_at=NOON + timedelta(minutes=25), series_instance_uid="9.2")
    sharp = make_series(acquired_at=NOON + timedelta(seconds=3), series_instance_uid="9.3", convolution_kernel="B70f")
    groups = {frozenset(one.series_instance_uid for one in group) for group in group_acquisitions([early, late, sharp])}
    assert groups == {frozenset({"9.1", "9.3"}), frozenset({"9.2"})}


def test_an_irradiation_event_settles_it(make_series):
    """The same event is one acquisition, whatever its numbers; another event is another."""
    event = {"marks": (("Irradiation Event UID", "2.25.1"),)}
    one = make_series(series_instance_uid="9.1", **event)
    other = make_series(series_instance_uid="9.2", acquisition_number=5, **event)
    third = make_series(series_instance_uid="9.3", marks=(("Irradiation Event UID", "2.25.2"),))
    assert len(group_acquisitions([one, other])) == 1
    assert len(group_acquisitions([one, third])) == 2


def test_a_targeted_reconstruction_gives_way_to_a_wide_one(make_series):
    """Of one lung alone, though softer: within a series and between series the wide one is analysed."""
    narrow = {"convolution_kernel": "B20f", "pixel_spacing_mm": (0.3, 0.3), "sop_instance_uid": lambda i: f"9.{i}"}
    wide, targeted = make_series(convolution_kernel="B70f"), make_series(series_instance_uid="9", **narrow)
    slices = slices_of(_joined(wide, targeted))
    assert {plane.convolution_kernel for plane in slices.planes} == {"B70f"}
    choice = choose_reconstruction([targeted, wide])
    assert choice.chosen == wide.series_instance_uid
    assert "field of view that may cut the lungs off" in choice.rejected["9"].value
