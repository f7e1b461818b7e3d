"""Lungs of synthetic chests."""

import numpy as np
import pytest
from model_sets import lung_model

from analysis.anatomy import LEFT, RIGHT, lung_network, segment_lungs
from analysis.anatomy.air import Grid, body_air
from analysis.anatomy.airways import find_airways
from analysis.anatomy.coarse import CoarseGrid
from analysis.anatomy.lung_field import Border, LungField
from analysis.anatomy.lungs import draw_lungs


def _dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def _truth(chest):
    """Right and left lung of the noiseless chest."""
    lung = chest == -850
    columns = np.arange(chest.shape[2])
    return lung & (columns < 120), lung & (columns >= 120)


@pytest.mark.parametrize("noise_hu", [0.0, 20.0, 60.0])
def test_lungs_are_found_and_told_apart(make_volume, make_chest, noise_hu):
    """Right and left are labelled from the patient's right to left, without the trachea, also in noise."""
    right, left = _truth(make_chest(noise_hu=0.0))
    labels = segment_lungs(make_volume(make_chest(noise_hu=noise_hu)), lung_model()).labels
    assert _dice(labels == RIGHT, right) > 0.96
    assert _dice(labels == LEFT, left) > 0.96
    assert not labels[45, 82:89, 117:124].any()


def test_lungs_that_touch_are_cut_apart(make_volume, make_chest):
    """A bridge at the anterior junction does not make one lung of two."""
    chest = make_chest(noise_hu=0.0)
    right, left = _truth(chest)
    chest[25:35, 80:83, 100:140] = -850
    labels = segment_lungs(make_volume(chest), lung_model()).labels
    assert _dice(labels == RIGHT, right) > 0.95
    assert _dice(labels == LEFT, left) > 0.95


def test_consolidation_at_the_pleura_is_lung(make_volume, make_chest):
    """Dense lung at the costal face counts as lung."""
    chest = make_chest(noise_hu=0.0)
    right, _ = _truth(chest)
    dense = right.copy()
    dense[:, :, 50:] = False
    dense[:25] = dense[35:] = False
    dense[:, :85] = dense[:, 115:] = False
    chest[dense] = 30
    labels = segment_lungs(make_volume(chest), lung_model()).labels
    assert np.mean(labels[dense] == RIGHT) > 0.8


@pytest.mark.parametrize("depth", [6, 20, 30])
def test_fluid_that_layers_behind_a_lung_is_no_lung(make_volume, make_chest, depth):
    """A free pleural effusion, 9 to 45 mm deep, is left out; the lung before it stays.

    So the denominator of a burden is lung alone. Dense lung with aerated lung around it is another matter, see above.
    """
    chest = make_chest(noise_hu=0.0)
    right, _ = _truth(chest)
    fluid = right.copy()
    fluid[:, : 152 - depth] = False
    chest[fluid] = 10
    labels = segment_lungs(make_volume(chest), lung_model()).labels
    assert np.mean(labels[fluid] > 0) < 0.1
    assert _dice(labels == RIGHT, right & ~fluid) > 0.96


def test_on_coarse_pixels_the_trachea_is_told_from_the_lungs_by_its_gas():
    """Where the trachea hangs together with a lung it is found all the same, and a lung's base is not taken for it."""
    rows, columns = np.mgrid[:64, :80]
    hu = np.full((20, 64, 80), -1000.0, np.float32)
    hu[:, ((rows - 32) / 26) ** 2 + ((columns - 40) / 37) ** 2 < 1] = 40
    hu[8:, 20:46, 12:38] = hu[8:, 20:46, 42:68] = -800
    hu[8:, 24:31, 38:42] = -600
    hu[8:, 26:29, 38:41] = -1000
    hu[:8, 16:22, 44:52] = -800
    air, body = body_air(Grid(hu=hu, slice_mm=4.0, row_mm=3.9, column_mm=3.9))
    airways = find_airways(Grid(hu=hu, slice_mm=4.0, row_mm=3.9, column_mm=3.9), air, body)
    assert airways[8:, 26:29, 38:41].all()
    assert not airways[:8].any()
    assert not airways[8:, :, 44:].any()


def test_little_gas_apart_is_lung_only_where_the_classical_method_says_so():
    """The network half believes in a bubble of 2 mL below a lung: left out, unless the classical lungs have it."""
    positions_mm, plane = np.arange(20) * 2.0, (40, 40)
    even = CoarseGrid.over(positions_mm, plane, (2.0, 2.0), 2.0)
    lung, bubble = (np.zeros((20, *plane), bool) for _ in range(2))
    lung[8:, 5:35, 5:35], bubble[1:5, 10:18, 10:18] = True, True
    hu = np.where(lung | bubble, -850, 30).astype(np.float32)
    logit = np.where(lung, 6, np.where(bubble, 1, -12)).astype(np.float32)
    border = Border(network=0.8, air=1.5, classical=1.5, offset=1.0)
    grid = Grid(hu=hu, slice_mm=2.0, row_mm=2.0, column_mm=2.0)

    def drawn(classical: np.ndarray) -> np.ndarray:
        field = LungField(
            grid=even,
            lung=logit,
            left=np.ones_like(logit),
            looked=even,
            classical=np.where(classical, 1, -1).astype(np.float32),
        )
        return draw_lungs(field, grid, border, hu.shape) > 0

    assert drawn(lung)[10, 10:30, 10:30].all()
    assert not drawn(lung)[:6].any()
    assert drawn(lung | bubble)[2, 12:16, 12:16].all()


def test_bowel_gas_is_not_lung(make_volume, make_chest):
    """A bubble of bare gas below the lungs is left out."""
    chest = make_chest(noise_hu=10.0)
    chest[4:14, 50:70, 105:135] = -1000
    labels = segment_lungs(make_volume(chest), lung_model()).labels
    assert not labels[4:14, 52:68, 107:133].any()


def test_the_dome_of_the_diaphragm_is_not_lung(make_volume, make_chest):
    """Tissue that lung surrounds in a slice, and that widens below, is liver."""
    chest = make_chest(noise_hu=0.0)
    rows, columns = np.mgrid[:200, :240]
    for index in range(30):
        radius = np.sqrt(max(0.0, 30**2 - (index * 1.0) ** 2)) * 0.7
        chest[index][(rows - 100) ** 2 + (columns - 70) ** 2 < radius**2] = 50
    labels = segment_lungs(make_volume(chest), lung_model()).labels
    assert np.mean(labels[18:26, 97:103, 67:73] == 0) > 0.9


def test_a_part_of_the_lungs_is_found(make_volume, make_chest):
    """Lungs that are cut off above and below are found in what is there."""
    chest = make_chest(noise_hu=0.0)[20:40]
    right, _ = _truth(chest)
    assert _dice(segment_lungs(make_volume(chest), lung_model()).labels == RIGHT, right) > 0.95


def test_lungs_open_to_room_air_in_one_slice_are_kept(make_volume, make_chest):
    """A hole in the chest wall of one slice does not lose the lung."""
    chest = make_chest(noise_hu=0.0)
    right, _ = _truth(chest)
    chest[30, 99:102, :50] = -1000
    assert _dice(segment_lungs(make_volume(chest), lung_model()).labels == RIGHT, right) > 0.9


def test_air_alone_has_no_lungs(make_volume):
    """An empty scanner yields an empty mask, no box, and no agreement on anything."""
    lungs = segment_lungs(make_volume(np.full((20, 100, 100), -1000)), lung_model())
    assert not lungs.mask.any()
    assert lungs.box is None
    assert lungs.agreement is None


def test_both_methods_agree_on_plain_lungs(make_volume, make_chest):
    """Agreement is the Dice of the lungs and those of the classical method."""
    assert (segment_lungs(make_volume(make_chest()), lung_model()).agreement or 0) > 0.93


def test_the_same_scan_has_the_same_lungs(make_volume, make_chest):
    """Nothing is left to chance."""
    volume = make_volume(make_chest(noise_hu=40.0)[10:50])
    np.testing.assert_array_equal(
        segment_lungs(volume, lung_model()).labels, segment_lungs(volume, lung_model()).labels
    )


def test_where_the_network_sees_nothing_the_classical_lungs_are_taken(monkeypatch, make_volume, make_chest):
    """A network that says no everywhere does not lose the lungs; the agreement tells that something is wrong."""
    chest = make_chest(noise_hu=0.0)
    right, left = _truth(chest)

    def blind(network, hu):
        del network
        return np.stack([np.full(hu.shape, 9.0), np.full(hu.shape, -9.0), np.full(hu.shape, -9.0)]).astype(np.float32)

    monkeypatch.setattr(lung_network, "lung_logits", blind)
    lungs = segment_lungs(make_volume(chest), lung_model())
    assert lungs.agreement == 0
    assert _dice(lungs.labels == RIGHT, right) > 0.93
    assert _dice(lungs.labels == LEFT, left) > 0.93


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_a_few_thick_slices_are_told_too(make_volume, make_chest, slices):
    """Slices 8 mm apart, however few, have their lungs found."""
    chest = make_chest(noise_hu=0.0)[24 : 24 + 4 * slices : 4]
    right, left = _truth(chest)
    labels = segment_lungs(make_volume(chest, (8.0, 1.5, 1.5)), lung_model()).labels
    assert _dice(labels > 0, right | left) > 0.93
