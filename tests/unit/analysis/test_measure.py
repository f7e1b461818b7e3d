"""Burden arithmetic, single opacities, periphery, scores and key slices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analysis.anatomy import LOBE_LABELS, Lobes, Lungs
from analysis.findings import Lobe, RegionFindings
from analysis.measure import measure, severity_score, total_score
from analysis.series import NativeGrid, Volume

_SHAPE = (4, 6, 5)


def _volume(hu: np.ndarray, weights: np.ndarray, spacing_mm: tuple[float, float] = (0.7, 0.9)) -> Volume:
    count = len(hu)
    return Volume(
        hu=hu.astype(np.int16),
        slice_positions_mm=np.cumsum(weights),
        slice_weights_mm=weights,
        row_spacing_mm=spacing_mm[0],
        column_spacing_mm=spacing_mm[1],
        sop_instance_uids=tuple(str(index) for index in range(count)),
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )


def _lobes(labels: np.ndarray, *, cut: frozenset[Lobe] = frozenset(), untold: frozenset[Lobe] = frozenset()) -> Lobes:
    told = {lobe: 90.0 for label, lobe in LOBE_LABELS.items() if (labels == label).any()}
    return Lobes(labels=labels, confidence_percent=told, cut=cut, untold=untold)


@given(
    sides=arrays.arrays(np.uint8, _SHAPE, elements=st.integers(0, 2)),
    lobes=arrays.arrays(np.uint8, _SHAPE, elements=st.sampled_from([0, *LOBE_LABELS])),
    labels=arrays.arrays(np.uint8, _SHAPE, elements=st.integers(0, 2)),
    hu=arrays.arrays(np.int16, _SHAPE, elements=st.integers(-1024, 400)),
    weights=arrays.arrays(np.float64, _SHAPE[0], elements=st.floats(0.5, 9)),
)
def test_every_figure_is_that_of_a_plain_count(sides, lobes, labels, hu, weights):
    """In both lungs, each lung and each lobe: the sum over voxels of their own volume, and their weighted HU."""
    scan = _volume(hu, weights)
    found = measure(scan, Lungs(labels=sides), labels, lobes=_lobes(lobes))
    voxel = np.broadcast_to((weights * 0.7 * 0.9 / 1000)[:, None, None], _SHAPE)
    regions = [(found.both_lungs, sides > 0), (found.right_lung, sides == 1), (found.left_lung, sides == 2)]
    for label, lobe in LOBE_LABELS.items():
        inside = (sides > 0) & (lobes == label)
        assert (lobe in found.lobes) == inside.any()
        if inside.any():
            regions.append((found.lobes[lobe], inside))
    for region, inside in regions:
        lesion = inside & (labels > 0)
        assert region.lung_volume_ml == pytest.approx(voxel[inside].sum())
        assert region.ggo_volume_ml == pytest.approx(voxel[inside & (labels == 1)].sum())
        assert region.high_opacity_volume_ml == pytest.approx(voxel[inside & (labels == 2)].sum())
        assert region.high_density_volume_ml == pytest.approx(voxel[lesion & (hu > -200)].sum())
        assert 0 <= region.pho_hu_percent <= region.burden_percent + 1e-9 <= 100 + 1e-6
        if lesion.any():
            mean = np.average(hu[lesion], weights=voxel[lesion])
            spread = np.sqrt(np.average((hu[lesion] - mean) ** 2, weights=voxel[lesion]))
            assert region.lesion_mean_hu == pytest.approx(mean)
            assert region.lesion_sd_hu == pytest.approx(spread, abs=1e-3)
        else:
            assert (region.lesion_mean_hu, region.lesion_sd_hu) == (None, None)
    if not ((sides > 0) & (labels > 0)).any():
        assert (found.key_slices, found.largest_lesion_ml, found.peripheral_lesion_percent) == ((), None, None)


@pytest.mark.parametrize("steps", [(2.5, 2.5), (1.0, 4.0), (0.8, 5.0)])
def test_an_ellipsoid_of_known_volume_is_measured_within_a_percent(steps):
    """A lung of 1131 mL with an opacity of 113 mL, cut into slices of one step or of two that alternate."""
    weights, middle = [], []
    while sum(weights) < 300:
        step = steps[len(weights) % 2]
        middle.append(sum(weights) + step / 2)
        weights.append(step)
    z, y, x = np.meshgrid(middle, np.arange(180) * 0.7, np.arange(140) * 0.9, indexing="ij", sparse=True)

    def ellipsoid(half_height_mm: float, half_depth_mm: float, half_width_mm: float) -> np.ndarray:
        place = ((z - 150) / half_height_mm) ** 2 + ((y - 62) / half_depth_mm) ** 2 + ((x - 62) / half_width_mm) ** 2
        return (place < 1).astype(np.uint8)

    lung, opacity = ellipsoid(120, 50, 45), ellipsoid(60, 30, 15)
    found = measure(_volume(np.full(lung.shape, -500), np.asarray(weights)), Lungs(labels=lung), opacity)
    sphere = 4 / 3 * np.pi / 1000
    assert found.right_lung.lung_volume_ml == pytest.approx(sphere * 120 * 50 * 45, rel=0.01)
    assert found.right_lung.ggo_volume_ml == pytest.approx(sphere * 60 * 30 * 15, rel=0.01)
    assert found.largest_lesion_ml == pytest.approx(found.right_lung.ggo_volume_ml)
    assert (found.left_lung.lung_volume_ml, found.lesion_count) == (0, 1)


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
    """Less than 0.1 mL is no lesion in the count; what touches at a corner hangs together."""
    labels = np.zeros((10, 30, 30), np.uint8)
    labels[2:6, 2:12, 2:12] = 1
    labels[6, 12, 12] = 2
    labels[8, 20, 20] = 1
    found = measure(
        _volume(np.full(labels.shape, -500), np.ones(10)), Lungs(labels=np.ones(labels.shape, np.uint8)), labels
    )
    assert found.lesion_count == 1
    assert found.largest_lesion_ml == pytest.approx(401 * 0.63 / 1000)
    assert found.both_lungs.lesion_volume_ml == pytest.approx(402 * 0.63 / 1000)


def test_lesions_at_the_chest_wall_are_peripheral_and_those_at_the_hilum_are_not():
    """A plate 5 mm deep lies in the outer 20 mm, a ball in the middle of the chest does not, half and half is half."""
    sides = np.zeros((80, 120, 180), np.uint8)
    sides[10:70, 10:110, 10:80] = 1
    sides[10:70, 10:110, 100:170] = 2
    scan = _volume(np.full(sides.shape, -500), np.full(80, 2.0), spacing_mm=(2.0, 2.0))
    wall, hilum = np.zeros_like(sides), np.zeros_like(sides)
    wall[30:50, 40:60, 10:12] = 1
    hilum[30:50, 40:60, 78:80] = 2
    shares = [
        measure(scan, Lungs(labels=sides), labels).peripheral_lesion_percent for labels in (wall, hilum, wall + hilum)
    ]
    assert shares == pytest.approx([100, 0, 50], abs=3)
    apex = np.zeros_like(sides)
    apex[66:70, 50:60, 60:70] = 1
    found = measure(scan, Lungs(labels=sides), apex)
    assert found.peripheral_lesion_percent == pytest.approx(100)
    # outer 20 mm of a box of 120 x 200 x 320 mm, less what of its inside is no lung
    inner = 80 * 160 * (280 - 40)
    assert found.peripheral_lung_percent == pytest.approx(100 * (1 - inner / (120 * 200 * 280)), abs=3)


def test_where_the_lungs_are_cut_off_nothing_counts_as_outside():
    """The same opacity at the last slice: peripheral where the lung ends there, not where the scan does."""
    sides = np.zeros((60, 120, 180), np.uint8)
    sides[5:60, 10:110, 10:170] = 1
    labels = np.zeros_like(sides)
    labels[57:60, 50:60, 80:90] = 1

    def share(count: int) -> float | None:
        scan = _volume(np.full((count, 120, 180), -500), np.full(count, 2.0), spacing_mm=(2.0, 2.0))
        padding = ((0, count - 60), (0, 0), (0, 0))
        found = measure(scan, Lungs(labels=np.pad(sides, padding)), np.pad(labels, padding))
        return found.peripheral_lesion_percent

    assert share(60) == pytest.approx(0)
    assert share(64) == pytest.approx(100)


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


def test_a_lobe_in_part_or_untold_leaves_no_score_and_says_so():
    """Volumes of what is there stay, both totals are absent, and each lobe in the way is named with its reason."""
    labels = np.zeros((5, 10, 10), np.uint8)
    for index, label in enumerate((4, 5, 6, 7, 8)):
        labels[index] = label
    scan, lungs = _volume(np.full(labels.shape, -500), np.ones(5)), Lungs(labels=np.ones(labels.shape, np.uint8))
    opacity = np.ones(labels.shape, np.uint8)
    whole = measure(scan, lungs, opacity, lobes=_lobes(labels))
    assert (whole.lss, whole.lhos, whole.scores_absent_because) == (20, 0, ())
    cut = measure(scan, lungs, opacity, lobes=_lobes(labels, cut=frozenset({Lobe.RIGHT_UPPER})))
    assert (cut.lss, cut.lhos) == (None, None)
    assert cut.lobes_in_part == (Lobe.RIGHT_UPPER,)
    assert cut.scores_absent_because == ("The right upper lobe is imaged in part.",)
    assert cut.lobes[Lobe.RIGHT_UPPER] == whole.lobes[Lobe.RIGHT_UPPER]
    labels[1], labels[4] = 0, 0
    lacking = measure(scan, lungs, opacity, lobes=_lobes(labels, untold=frozenset({Lobe.RIGHT_MIDDLE})))
    assert lacking.scores_absent_because == (
        "The right middle lobe cannot be told with confidence.",
        "The left lower lobe is not in the images.",
    )
    assert measure(scan, lungs, opacity).scores_absent_because == ("The lobes were not looked for.",)
