"""Burden arithmetic, scores, key slices and quality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analysis.anatomy import Lungs
from analysis.findings import Lobe, Profile, QualityLevel, RegionFindings
from analysis.measure import assess_quality, measure, severity_score, total_score
from analysis.measure.quality import measure_noise_hu
from analysis.series import NativeGrid, Screening, Volume

_SHAPE = (4, 6, 5)


def _volume(hu: np.ndarray, weights: np.ndarray) -> Volume:
    count = len(hu)
    return Volume(
        hu=hu.astype(np.int16),
        slice_positions_mm=np.cumsum(weights),
        slice_weights_mm=weights,
        row_spacing_mm=0.7,
        column_spacing_mm=0.9,
        sop_instance_uids=tuple(str(index) for index in range(count)),
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )


@given(
    sides=arrays.arrays(np.uint8, _SHAPE, elements=st.integers(0, 2)),
    labels=arrays.arrays(np.uint8, _SHAPE, elements=st.integers(0, 2)),
    hu=arrays.arrays(np.int16, _SHAPE, elements=st.integers(-1024, 400)),
    weights=arrays.arrays(np.float64, _SHAPE[0], elements=st.floats(0.5, 9)),
)
def test_volumes_are_those_of_a_plain_count(sides, labels, hu, weights):
    """Every volume equals the sum over voxels of their own volume, and both lungs are the sum of the two."""
    scan = _volume(hu, weights)
    found = measure(scan, Lungs(labels=sides), labels)
    voxel = np.broadcast_to((weights * 0.7 * 0.9 / 1000)[:, None, None], _SHAPE)
    for region, inside in (
        (found.both_lungs, sides > 0),
        (found.right_lung, sides == 1),
        (found.left_lung, sides == 2),
    ):
        lesion = inside & (labels > 0)
        assert region.lung_volume_ml == pytest.approx(voxel[inside].sum())
        assert region.ggo_volume_ml == pytest.approx(voxel[inside & (labels == 1)].sum())
        assert region.high_opacity_volume_ml == pytest.approx(voxel[inside & (labels == 2)].sum())
        assert region.high_density_volume_ml == pytest.approx(voxel[lesion & (hu > -200)].sum())
        assert 0 <= region.burden_percent <= 100 + 1e-9
    lesion = (sides > 0) & (labels > 0)
    if lesion.any():
        assert found.lesion_mean_hu == pytest.approx(np.average(hu[lesion], weights=voxel[lesion]))
    else:
        assert found.lesion_mean_hu is None
        assert found.key_slices == ()


def test_unequal_steps_weigh_each_slice_by_its_own_thickness():
    """Two slices of 1 mm and one of 4 mm hold 6 mm of lung."""
    scan = _volume(np.full((3, 10, 10), -800), np.asarray([1.0, 1.0, 4.0]))
    found = measure(scan, Lungs(labels=np.ones((3, 10, 10), np.uint8)), np.zeros((3, 10, 10), np.uint8))
    assert found.both_lungs.lung_volume_ml == pytest.approx(6 * 100 * 0.63 / 1000)


def test_key_slices_are_the_fullest_ones_and_lie_apart():
    """The slice with most opacity comes first; its close neighbours are not repeated."""
    labels = np.zeros((40, 20, 20), np.uint8)
    labels[10:14, :10, :10] = 1
    labels[12, :12, :12] = 2
    labels[30, :4, :4] = 1
    scan = _volume(np.full(labels.shape, -500), np.full(40, 2.0))
    found = measure(scan, Lungs(labels=np.ones(labels.shape, np.uint8)), labels)
    assert [key.slice_index for key in found.key_slices] == [12, 30]
    assert found.key_slices[0].high_opacity_area_mm2 == pytest.approx(144 * 0.63)


def test_specks_are_measured_but_not_counted():
    """A lesion of less than 0.1 mL is no lesion in the count."""
    labels = np.zeros((10, 30, 30), np.uint8)
    labels[2:6, 2:12, 2:12] = 1
    labels[8, 20, 20] = 1
    found = measure(
        _volume(np.full(labels.shape, -500), np.ones(10)), Lungs(labels=np.ones(labels.shape, np.uint8)), labels
    )
    assert found.lesion_count == 1


@pytest.mark.parametrize(
    ("percent", "score"),
    [(0, 0), (0.99, 0), (1, 1), (25, 1), (25.01, 2), (50, 2), (50.01, 3), (75, 3), (75.01, 4), (100, 4)],
)
def test_scores_follow_the_papers_bins(percent, score):
    """0; 1-25; 25-50; 50-75; 75-100 %, a border belonging to the lower bin."""
    assert severity_score(percent) == score


@given(st.floats(0, 100), st.floats(0, 100))
def test_scores_never_fall_as_the_share_grows(one, other):
    """The score is monotonous and between 0 and 4."""
    low, high = sorted((one, other))
    assert 0 <= severity_score(low) <= severity_score(high) <= 4


def test_a_total_needs_all_five_lobes():
    """A lobe that was not told apart leaves no score; five full ones give 20."""
    full = RegionFindings(lung_volume_ml=10, ggo_volume_ml=10, high_opacity_volume_ml=0, high_density_volume_ml=0)
    lobes = dict.fromkeys(Lobe, full)
    assert total_score(lobes, lambda region: region.burden_percent) == 20
    assert total_score(lobes, lambda region: region.pho_hu_percent) == 0
    del lobes[Lobe.RIGHT_MIDDLE]
    assert total_score(lobes, lambda region: region.burden_percent) is None


def test_noise_is_measured_within_a_tenth(make_volume, make_chest):
    """Noise of 30 HU reads as 30 HU."""
    assert measure_noise_hu(make_volume(make_chest(30, noise_hu=30.0))) == pytest.approx(30, rel=0.1)


def test_lungs_that_reach_the_last_slice_are_cut_off(make_volume, make_chest):
    """The upper half cut away: limited, and the reason says which lung is cut off where."""
    hu = make_chest()[:30]
    sides = np.zeros(hu.shape, np.uint8)
    sides[2:, 60:140, 40:100] = 1
    sides[2:, 60:140, 140:200] = 2
    quality = assess_quality(
        make_volume(hu), Lungs(labels=sides), Profile.CHEST_CT, Screening(results=(), profile=Profile.CHEST_CT)
    )
    assert quality.level is QualityLevel.LIMITED
    assert "The right lung is cut off above." in quality.reasons
    assert quality.lung_coverage_percent is not None
    assert quality.lung_coverage_percent < 60


def test_a_ctac_is_limited_by_its_nature(make_volume, make_chest):
    """Shallow breathing and low dose are said in words."""
    scan = make_volume(make_chest())
    sides = np.zeros(scan.hu.shape, np.uint8)
    sides[5:-5, 60:140, 50:90] = 1
    quality = assess_quality(scan, Lungs(labels=sides), Profile.CTAC, Screening(results=(), profile=Profile.CTAC))
    assert quality.level is QualityLevel.LIMITED
    assert any("attenuation correction" in reason for reason in quality.reasons)
