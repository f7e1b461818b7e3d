"""Folds, the cache, and windows drawn from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.training.augment import SliceStore, WindowSampler
from analysis.training.datasets import (
    CLASS_BITS,
    FOLD_COUNT,
    Cache,
    Source,
    encode_hu,
    fold_of,
    load_cache,
    save_cache,
)
from analysis.training.recipes import AugmentRecipe, DataRecipe
from analysis.training.variation import dependent_density, vary_density


@pytest.mark.parametrize("fold", range(FOLD_COUNT))
def test_folds_never_share_a_patient(cache, fold):
    """What is held out is not trained on, and together they are everything."""
    held_out, training = cache.held_out(fold), cache.training(fold)
    names = {case.name for case in held_out}, {case.name for case in training}
    assert not names[0] & names[1]
    assert {slice_ for c in held_out for slice_ in range(c.start, c.stop)}.isdisjoint(
        slice_ for c in training for slice_ in range(c.start, c.stop)
    )
    assert len(held_out) + len(training) == len(cache.cases)
    assert {case.source for case in held_out} == {case.source for case in cache.cases}


def test_every_patient_is_held_out_once():
    """Each index has one fold; neighbouring pictures of medseg, which may share a patient, mostly the same."""
    folds = [fold_of(Source.MEDSEG, index, 50) for index in range(50)]
    assert folds == sorted(folds)
    assert {folds.count(fold) for fold in range(FOLD_COUNT)} == {10}
    assert {fold_of(Source.COVID20, index, 12) for index in range(12)} == set(range(FOLD_COUNT))


def test_the_cache_comes_back(cache, tmp_path):
    """Grey values, masks and cases, all of it exactly."""
    save_cache(cache, tmp_path / "cache.npz")
    read = load_cache(tmp_path / "cache.npz")
    assert read.cases == cache.cases
    np.testing.assert_array_equal(read.mask, cache.mask)
    np.testing.assert_array_equal(read.grey, cache.grey)


def test_a_cache_is_there_whole_or_not_at_all(cache, tmp_path, monkeypatch):
    """A stop in the midst of writing leaves nothing that would be read as a cache."""

    def stopped(stream, **_arrays):
        stream.write(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", stopped)
    with pytest.raises(KeyboardInterrupt):
        save_cache(cache, tmp_path / "cache.npz")
    assert not (tmp_path / "cache.npz").exists()


def test_cases_tile_the_slices(cache):
    """A cache with a slice that belongs to nobody is refused."""
    with pytest.raises(ValueError, match="tile"):
        Cache(grey=cache.grey, mask=cache.mask, cases=cache.cases[1:])


def test_density_of_the_lung(cache):
    """Mean and deviation are those of the lung voxels of the cases asked for, within the byte's step."""
    controls = [case for case in cache.cases if case.source is Source.LCTSC]
    mean_hu, sd_hu = cache.lung_statistics_hu(controls)
    assert mean_hu == pytest.approx(-850, abs=4)
    assert sd_hu == pytest.approx(20, abs=4)


def test_hu_as_bytes():
    """Steps of 8 HU from -1024; beyond the range it is clipped."""
    assert encode_hu(np.array([-2000.0, -1024.0, -1016.0, 600.0, 3000.0])).tolist() == [0, 0, 1, 203, 255]


def _sampler(cache, augment, **data):
    store = SliceStore(cache, torch.device("cpu"))
    return WindowSampler(store, cache.cases, DataRecipe(**data), augment, split_hu=-200.0)


def test_without_augmentation_windows_are_the_slices(cache, still):
    """HU and labels of a drawn window are those of the cache."""
    batch = _sampler(cache, still, batch=6, crop=256, controls=0.0, medseg=1.0).draw(torch.Generator().manual_seed(0))
    pictures = {c.start: c for c in cache.cases if c.source is Source.MEDSEG}
    for hu, classes in zip(batch.hu, batch.target.classes, strict=True):
        matches = [
            start for start in pictures if np.allclose(hu[1], np.minimum(cache.grey[start] * 8.0 - 1024, 600), atol=0.1)
        ]
        assert len(matches) == 1
        np.testing.assert_array_equal(classes, cache.mask[matches[0]] & CLASS_BITS)


def test_labels_move_with_the_image(cache, still):
    """Rotated, scaled, shifted, mirrored and cropped: lesion labels stay on the lesions."""
    moving = replace(still, rotation_deg=30, scale=(0.7, 1.3), shift_px=20, flip=True)
    batch = _sampler(cache, moving, batch=12, crop=192, controls=0.0, medseg=0.5).draw(torch.Generator().manual_seed(1))
    bright = (batch.hu[:, 1] > -450) & (batch.hu[:, 1] < 20)  # lesion, not chest wall
    lesion = batch.target.classes > 0
    overlap = 2 * (bright & lesion).sum() / (bright.sum() + lesion.sum())
    assert lesion.float().mean() > 0.02
    assert overlap > 0.9


def test_density_splits_the_open_class(cache, still):
    """The weak class of a lesion follows the density at the split."""
    batch = _sampler(cache, still, batch=4, crop=256, controls=0.0, medseg=0.0).draw(torch.Generator().manual_seed(0))
    open_class = batch.target.classes == 3
    assert open_class.any()
    dense = batch.hu[:, 1] > -200
    assert (batch.target.weak[open_class & dense] == 2).float().mean() > 0.9
    assert (batch.target.weak[open_class & ~dense] == 1).float().mean() > 0.9


def test_dependent_lung_gains_density_above_the_pleura():
    """Most at the lowest row of the lung, less further up, nothing in what is not aerated or not lung."""
    hu = torch.full((4, 3, 64, 64), -850.0)
    hu[:, :, :, 40:44] = 30.0
    lung = torch.zeros(4, 3, 64, 64, dtype=torch.bool)
    lung[:, :, 10:50, 8:56] = True
    gained = dependent_density(hu, lung, torch.Generator().manual_seed(3))
    means = gained[:, :, :, 8:40].mean((1, 3))
    assert (means[:, 49] > 100).any()
    assert (means[:, 49] > means[:, 12]).all()
    assert (gained[:, :, 50:] == 0).all()
    assert (gained[:, :, :, 40:44] < 1).all()


def test_only_controls_are_put_into_deep_expiration(cache, still):
    """With every control expired, their lungs are denser and still without label; patients' lungs are as they were."""
    expired = replace(still, density=0.0, expired_controls=1.0)
    hu = torch.full((2, 3, 32, 32), -850.0)
    varied = vary_density(hu, expired, torch.tensor([True, False]), torch.Generator().manual_seed(1))
    assert (varied[0] > -850).all()
    assert torch.equal(varied[1], hu[1])
    drawn = {
        chance: _sampler(
            cache, replace(still, expired_controls=chance), batch=6, crop=256, controls=1.0, medseg=0.0
        ).draw(torch.Generator().manual_seed(2))
        for chance in (0.0, 1.0)
    }
    assert not drawn[1.0].target.classes.any()
    assert float(drawn[1.0].hu.mean()) > float(drawn[0.0].hu.mean()) + 5


def test_controls_of_a_hospital_are_expired_as_those_of_lctsc_are(cache, still):
    """The same scans as a hospital's controls become denser too; the box of lctsc's lungs is not theirs."""
    own = tuple(
        replace(case, source=Source.HOSPITAL_CONTROL) if case.source is Source.LCTSC else case for case in cache.cases
    )
    hospital = Cache(grey=cache.grey, mask=cache.mask, cases=own)
    calm, expired = (
        _sampler(hospital, replace(still, expired_controls=chance), batch=6, crop=256, controls=1.0, medseg=0.0).draw(
            torch.Generator().manual_seed(2)
        )
        for chance in (0.0, 1.0)
    )
    assert float(expired.hu.mean()) > float(calm.hu.mean()) + 5
    assert expired.target.known.all()


def test_the_shares_of_the_sources(cache, still):
    """A batch holds as many controls as the recipe says; they have no lesion."""
    batch = _sampler(cache, still, batch=10, crop=256, controls=0.3, medseg=0.2).draw(torch.Generator().manual_seed(0))
    with_lesion = (batch.target.classes > 0).flatten(1).any(1)
    open_class = (batch.target.classes == 3).flatten(1).any(1)
    assert int((~with_lesion).sum()) == 3
    assert int((with_lesion & ~open_class).sum()) == 2


def test_neighbours_stay_in_their_scan(cache):
    """The ends of a scan are repeated; the next patient's slices are never seen."""
    store = SliceStore(cache, torch.device("cpu"))
    index = torch.tensor([cache.cases[1].start, cache.cases[1].stop - 1])
    found = store.neighbours(index, torch.tensor([[-3, 0, 3]]))
    start, last = cache.cases[1].start, cache.cases[1].stop - 1
    assert found.tolist() == [[start, start, last], [start, last, last]]


def test_full_augmentation_is_finite_and_in_range(cache):
    """With everything on, HU stay in their range and labels are labels; lesions are pasted into lung only."""
    sampler = _sampler(cache, AugmentRecipe(paste=0.5, synthetic=0.5), batch=8, crop=96)
    batch = sampler.draw(torch.Generator().manual_seed(0))
    assert batch.hu.shape == (8, 3, 96, 96)
    assert torch.isfinite(batch.hu).all()
    assert float(batch.hu.min()) >= -1024
    assert float(batch.hu.max()) <= 600
    assert int(batch.target.classes.max()) <= 3


def test_the_seed_decides(cache):
    """The same generator state gives the same batch, another one another."""
    sampler = _sampler(cache, AugmentRecipe(), batch=4, crop=64)
    first, again, other = (sampler.draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.hu, again.hu)
    assert not torch.equal(first.hu, other.hu)
