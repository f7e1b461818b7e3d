"""Scores of single cases whose truth, and whose errors, are known to the voxel."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from labelled_sets import BURDEN_PERCENT, GGO_HU, LESION_VOXELS, LUNG_VOXELS, BandSegmenter, chest, lobe_boxes
from model_sets import lobe_model, models_with

from analysis.anatomy import Lobes, Lungs
from analysis.evaluation import lobes as lobe_scores
from analysis.evaluation import volumes
from analysis.evaluation.ctac import simulate_ctac
from analysis.evaluation.lobes import score_lobes
from analysis.evaluation.reading import LabelledLobes, LabelledPicture, LabelledScan, plain_volume
from analysis.evaluation.results import CaseResult
from analysis.evaluation.scoring import Overlap, overlap
from analysis.evaluation.slices import pooled_dice, score_slice
from analysis.evaluation.truth import aerated
from analysis.evaluation.volumes import score_control, score_patient
from analysis.findings import Profile


@pytest.fixture
def scan():
    """A labelled chest with opacities of known burden."""
    hu, label = chest()
    return LabelledScan(volume=plain_volume(hu, (3.0, 2.0, 2.0)), lung=label > 0, lesion=label == 2)


@pytest.fixture
def own_lungs(monkeypatch):
    """In place of the lung segmentation: the true lungs, less what a test takes out of them."""
    missing = SimpleNamespace(where=())

    def find(volume, model, *, valid=None):
        del model, valid
        labels = (volume.hu < -400).astype(np.uint8)
        if missing.where:
            labels[missing.where] = 0
        return Lungs(labels=labels)

    monkeypatch.setattr(volumes, "segment_lungs", find)
    return missing


def test_dice_and_sensitivity():
    """Dice is twice the common voxels over both; where neither holds anything there is none."""
    one = np.array([True, True, False, False])
    assert overlap(one, np.array([True, False, True, False])).dice == pytest.approx(0.5)
    assert overlap(one, np.array([True, False, False, False])).sensitivity == 1
    assert overlap(~one & one, ~one & one).dice is None
    assert (Overlap(both=1, found=2, true=3) + Overlap(both=1, found=0, true=1)) == Overlap(both=2, found=2, true=4)


def test_a_model_that_is_right_has_dice_1_and_the_true_burden(scan, own_lungs):
    """Where prediction and truth are equal every Dice is 1, and the burden is the one that was painted."""
    del own_lungs
    figures = score_patient("case", scan, models_with(BandSegmenter())).figures
    for key in ("lesion_dice", "lesion_dice_own_lung", "lung_dice", "lesion_in_lung_share", "lesion_sensitivity"):
        assert figures[key] == 1, key
    for key in ("burden_percent", "true_burden_percent", "burden_true_lung_percent"):
        assert figures[key] == pytest.approx(BURDEN_PERCENT), key
    assert figures["burden_error_percent"] == 0
    assert (figures["lesion_voxels"], figures["true_lesion_voxels"]) == (LESION_VOXELS, LESION_VOXELS)


def test_what_our_lungs_miss_counts_for_the_chain_only(scan, own_lungs):
    """A slice that our lungs lack costs the chain half of the lesion, and the model in the true lung nothing."""
    own_lungs.where = (1,)
    figures = score_patient("case", scan, models_with(BandSegmenter())).figures
    assert figures["lesion_dice"] == 1
    assert figures["lesion_in_lung_share"] == 0.5
    assert figures["lesion_dice_own_lung"] == pytest.approx(2 / 3)
    assert figures["lung_dice"] == pytest.approx(2 * 3 / 7)
    assert figures["burden_percent"] == pytest.approx(100 * (LESION_VOXELS / 2) / (LUNG_VOXELS * 3 / 4))


def test_a_control_has_only_false_burden(own_lungs):
    """Of a control every opacity is false; volumes are in mL on its own spacing."""
    del own_lungs
    hu, label = chest(lesions=False)
    hu[0, 8, 8:18] = GGO_HU
    scan = LabelledScan(volume=plain_volume(hu, (3.0, 2.0, 2.0)), lung=label > 0, lesion=np.zeros(hu.shape, bool))
    result = score_control("control", scan, models_with(BandSegmenter()), picture=True)
    assert result.figures["burden_percent"] == pytest.approx(100 * 10 / LUNG_VOXELS)
    assert result.figures["true_burden_percent"] == 0
    assert result.figures["lesion_volume_ml"] == pytest.approx(10 * 0.012)
    assert result.figures["lung_volume_ml"] == pytest.approx(LUNG_VOXELS * 0.012)
    assert result.picture is not None
    assert result.picture.png.startswith(b"\x89PNG")


def test_a_slice_counts_each_class_where_the_truth_holds_it():
    """The Dice of a class that the truth does not hold is absent; pooled figures add up pixels of all slices."""
    hu = np.full((8, 8), -850, np.int16)
    label = np.zeros((8, 8), np.uint8)
    hu[:2], label[:2] = -500, 1
    first = score_slice("one", LabelledPicture(hu=hu, label=label), BandSegmenter())
    assert (first.figures["ggo_dice"], first.figures["high_opacity_dice"]) == (1, None)
    label_high = label.copy()
    label_high[4:6] = 2  # what the model does not see
    second = score_slice("two", LabelledPicture(hu=hu, label=label_high), BandSegmenter(), picture=True)
    assert (second.figures["ggo_dice"], second.figures["high_opacity_dice"]) == (1, 0)
    pooled = pooled_dice([first, second])
    assert pooled == {"lesion_dice": pytest.approx(2 * 32 / (32 + 48)), "ggo_dice": 1, "high_opacity_dice": 0}


def test_lobes_are_scored_one_by_one(monkeypatch):
    """A middle lobe that is told as upper lobe has Dice 0; the mean is over the five."""
    truth = lobe_boxes()

    def estimate(volume, lungs, model):
        del model
        assert volume.hu.shape == truth.shape
        assert ((lungs.labels == 1) == np.isin(truth, (4, 5, 6))).all()
        assert ((lungs.labels == 2) == np.isin(truth, (7, 8))).all()
        labels = np.where(truth == 5, 4, truth).astype(np.uint8)
        return Lobes(labels=labels, confidence_percent={}, cut=frozenset(), untold=frozenset())

    monkeypatch.setattr(lobe_scores, "estimate_lobes", estimate)
    result = score_lobes("map", LabelledLobes(lobes=truth, spacing_mm=(2.0, 2.0, 2.0)), lobe_model(), picture=True)
    upper = 2 * 1536 / (1536 + 1536 + 768)
    assert result.figures["RML_dice"] == 0
    assert result.figures["RUL_dice"] == pytest.approx(upper)
    assert (result.figures["RLL_dice"], result.figures["LUL_dice"], result.figures["LLL_dice"]) == (1, 1, 1)
    assert result.figures["lobe_dice"] == pytest.approx((upper + 0 + 3) / 5)
    assert isinstance(result, CaseResult)


def test_simulated_ctac_is_fixed_by_seed_and_case():
    """The same seed and case give the same voxels, another case others; lung gets denser and slices 3 to 5 mm."""
    hu, label = (np.repeat(array, 9, axis=0) for array in chest())
    scan = LabelledScan(volume=plain_volume(hu, (1.0, 2.0, 2.0)), lung=label > 0, lesion=label == 2)
    (one, look), (other, _) = (simulate_ctac("case", scan, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.volume.hu, other.volume.hu)
    assert simulate_ctac("another", scan, seed=3)[1] != look
    assert simulate_ctac("case", scan, seed=4)[1] != look
    assert 3 <= look.slice_mm <= 5
    assert one.volume.slice_spacing_mm == pytest.approx(look.slice_mm, abs=0.5)
    assert one.volume.slice_spacing_mm * len(one.volume.hu) == pytest.approx(36)
    assert one.volume.hu[one.lung & ~one.lesion].mean() > -850 + look.expiration_hu / 2
    assert (one.lesion <= one.lung).all()
    assert one.lesion.any()


def test_a_scan_of_thick_slices_keeps_them():
    """Slices are averaged, never made up: 8 mm stay 8 mm."""
    hu, label = chest()
    thick = LabelledScan(volume=plain_volume(hu, (8.0, 2.0, 2.0)), lung=label > 0, lesion=label == 2)
    made, _ = simulate_ctac("case", thick, seed=0)
    assert made.volume.hu.shape == hu.shape
    assert made.volume.slice_spacing_mm == 8
    np.testing.assert_array_equal(made.lesion, thick.lesion)


def test_the_profile_reaches_the_model(scan, own_lungs):
    """A simulated CTAC is judged by the thresholds of its profile."""
    del own_lungs
    model = BandSegmenter()
    score_patient("case", scan, models_with(model), profile=Profile.CTAC)
    assert set(model.profiles) == {Profile.CTAC}


def test_wide_outlines_are_told_from_tight_ones():
    """Of a tight outline little is aerated, of one twice as large about half; without other lung, None."""
    lung = np.ones((2, 120, 60), bool)
    lesion, wide, nothing = (np.zeros_like(lung) for _ in range(3))
    lesion[:, 40:80], wide[:, 40:120] = True, True
    hu = (np.where(lesion, -550, -850) + np.random.default_rng(1).normal(0, 60, lung.shape)).astype(np.int16)

    of_tight, of_wide = aerated(hu, lesion, lung), aerated(hu, wide, lung)
    assert of_tight is not None
    assert of_wide is not None
    assert of_tight[lesion].mean() < 0.05
    assert of_wide[wide].mean() == pytest.approx(0.5, abs=0.05)
    assert aerated(hu, nothing, lung) is not None
    assert aerated(hu, lung, lung) is None


def test_an_outline_drawn_widely_costs_dice_but_not_the_dense_dice(own_lungs):
    """A truth of twice the lesion halves precision; what agrees is told once aerated lung is left out of both."""
    del own_lungs
    hu, label = (array.repeat(4, 1).repeat(4, 2) for array in chest())
    lung, lesion = label > 0, label == 2
    wide = lung & np.stack([cv2.dilate(plane, np.ones((33, 1), np.uint8)) > 0 for plane in lesion.astype(np.uint8)])
    scan = LabelledScan(volume=plain_volume(hu, (3.0, 0.5, 0.5)), lung=lung, lesion=wide)
    figures = score_patient("case", scan, models_with(BandSegmenter())).figures
    assert figures["lesion_dice"] == pytest.approx(2 / 3, abs=0.01)
    assert figures["true_lesion_aerated_percent"] == pytest.approx(50, abs=10)
    assert figures["lesion_dice_dense"] > 0.9
    assert figures["burden_dense_percent"] == pytest.approx(figures["true_burden_dense_percent"], rel=0.2)
    of_all = score_patient("case", replace(scan, lesion=lung), models_with(BandSegmenter())).figures
    assert "lesion_dice_dense" not in of_all
