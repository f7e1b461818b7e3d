"""One of several reconstructions is analysed, and why."""

from itertools import permutations

import pytest

from analysis.series import choose_reconstruction, group_acquisitions
from analysis.series.kernels import Sharpness, sharpness


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("B30f", Sharpness.SOFT),
        ("Br40d\\3", Sharpness.SOFT),
        ("B70f", Sharpness.SHARP),
        ("STANDARD", Sharpness.SOFT),
        ("LUNG", Sharpness.SHARP),
        ("BONEPLUS", Sharpness.SHARP),
        ("FC08", Sharpness.SOFT),
        ("FC51", Sharpness.SHARP),
        ("B", Sharpness.SOFT),
        ("L", Sharpness.SHARP),
        ("", Sharpness.MEDIUM),
    ],
)
def test_kernels_are_ranked_by_their_makers_names(kernel, expected):
    """Soft, sharp or, where the name tells nothing, medium."""
    assert sharpness(kernel) is expected


def test_coverage_comes_before_kernel_and_kernel_before_thickness(make_series):
    """The criteria are applied in their order, whatever the order of the candidates."""
    short = make_series(60, series_instance_uid="9.1")
    sharp = make_series(convolution_kernel="B70f", series_instance_uid="9.2")
    thick = make_series(slice_thickness_mm=5.0, series_instance_uid="9.3")
    best = make_series(series_instance_uid="9.4", series_number=7)
    for order in permutations([short, sharp, thick, best]):
        choice = choose_reconstruction(order)
        assert choice.chosen == "9.4"
        assert set(choice.rejected) == {"9.1", "9.2", "9.3"}
    reasons = {uid: result.value for uid, result in choice.rejected.items()}
    assert "shorter" in reasons["9.1"]
    assert "sharp kernel" in reasons["9.2"]
    assert "thickness" in reasons["9.3"]


def test_equal_reconstructions_are_decided_by_number_then_uid(make_series):
    """A tie is broken the same way every time."""
    one, other = make_series(series_instance_uid="9.2"), make_series(series_instance_uid="9.1")
    assert choose_reconstruction([one, other]).chosen == choose_reconstruction([other, one]).chosen == "9.1"


def test_scans_that_do_not_overlap_are_not_each_others_reconstruction(make_series):
    """Head and chest of one examination are two acquisitions."""
    chest = make_series(series_instance_uid="9.1")
    head = make_series(
        80, series_instance_uid="9.2", image_position_patient_mm=lambda index: (0.0, 0.0, 600 + 2.0 * index)
    )
    sharp = make_series(series_instance_uid="9.3", convolution_kernel="B70f")
    groups = {frozenset(one.series_instance_uid for one in group) for group in group_acquisitions([chest, head, sharp])}
    assert groups == {frozenset({"9.1", "9.3"}), frozenset({"9.2"})}


def test_another_acquisition_number_is_another_acquisition(make_series):
    """Inspiration and expiration are both analysed."""
    assert len(group_acquisitions([make_series(), make_series(acquisition_number=2, series_instance_uid="9.2")])) == 2
