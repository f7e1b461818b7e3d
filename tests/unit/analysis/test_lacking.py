"""A lung that is not there, or not as a whole, is told by the other one; unlike lungs that are whole are not."""

import numpy as np
import pytest

from analysis.anatomy import Lungs
from analysis.measure.coverage import measure_coverage
from analysis.measure.lacking import LungProfile, profile_of, what_lacks

_WEIGHTS = np.full(60, 4.0)


def _profile(height: float = 1.0, depth: float = 1.0, scale: float = 1.0) -> LungProfile:
    """A lung of 240 mm that tapers at both ends, cut to its upper share, made shallower and smaller."""
    taper = np.sqrt(1 - np.linspace(-0.99, 0.99, 60) ** 2)
    taper[: round((1 - height) * 60)] = 0
    return LungProfile(area_mm2=9000 * scale * depth * taper, depth_mm=160 * depth * taper)


@pytest.mark.parametrize(
    ("lung", "whole", "lacks"),
    [
        (_profile(), True, None),
        (_profile(scale=0.64), True, None),
        (_profile(height=0.84), True, None),
        (_profile(depth=0.93), True, None),
        (_profile(scale=0.45), False, None),
        (_profile(scale=0.05), True, "all"),
        (_profile(scale=0.0), False, "all"),
        (_profile(height=0.5), True, "height"),
        (_profile(height=0.5), False, "height"),
        (_profile(depth=0.65), True, "depth"),
        (_profile(scale=0.5), True, "volume"),
        (_profile(scale=0.35), False, "volume"),
    ],
)
def test_what_lacks_is_told_beyond_what_whole_lungs_show(lung, whole, lacks):
    """Small, low and high lungs of whole chests are none; a lost half, base or layer, or all of it, is."""
    found = what_lacks(lung, _profile(), _WEIGHTS, whole=whole)
    if lacks is None:
        assert found is None
        return
    assert found is not None
    assert found.missing is (lacks == "all")
    assert (found.depth_mm > 0) is (lacks == "depth")
    if lacks == "height":
        assert found.height_mm == pytest.approx(110, abs=10)
        assert found.found_height_percent == pytest.approx(50, abs=4)
    assert what_lacks(_profile(), lung, _WEIGHTS, whole=whole) is None


def test_a_sliver_of_lung_tells_nothing_of_the_other():
    """Of an abdomen with 60 mm of one base the other lung may begin above it."""
    assert what_lacks(_profile(scale=0.0), _profile(), np.full(60, 1.0), whole=False) is None


def test_a_profile_is_of_the_pixels():
    """Areas and depths in millimetres; an empty slice has neither."""
    lung = np.zeros((3, 50, 40), bool)
    lung[1, 10:30, 5:15] = True
    profile = profile_of(lung, row_mm=2.0, column_mm=1.5)
    assert profile.area_mm2.tolist() == [0, 600, 0]
    assert profile.depth_mm.tolist() == [0, 38, 0]


def test_beside_a_missing_lung_the_other_is_whole(make_volume, make_chest):
    """Remnants of airways, though they lie apart and at the end of the series, make no part of the sound lung lost."""
    hu = make_chest()
    labels = np.zeros(hu.shape, np.uint8)
    labels[5:55, 50:150, 130:200] = 2
    labels[:10, 90:100, 80:90] = 1
    coverage = measure_coverage(make_volume(hu), Lungs(labels=labels))
    assert {name: lacks.missing for name, lacks in coverage.lacking.items()} == {"right": True}
    assert (coverage.ends, coverage.percent_of("right"), coverage.percent_of("left")) == ((), 0, 100)


def test_a_lung_at_the_border_of_the_field_of_view_may_go_on_beyond_it(make_volume, make_chest):
    """What a narrow field of view leaves out is not called removed."""
    hu = make_chest()
    labels = np.zeros(hu.shape, np.uint8)
    labels[5:55, 50:150, 130:200] = 2
    labels[5:55, 50:150, 40:60] = 1
    coverage = measure_coverage(make_volume(hu), Lungs(labels=labels))
    assert list(coverage.lacking) == ["right"]
    assert coverage.percent_of("right") == 100
    narrow = measure_coverage(make_volume(hu[:, :, 40:]), Lungs(labels=labels[:, :, 40:]))
    assert (narrow.sides, dict(narrow.lacking)) == (("right",), {})
