"""Validation looks at training patients only, and at their slices as they are."""

import numpy as np
import pytest
import torch

from analysis.training.augment import SliceStore
from analysis.training.datasets import CLASS_BITS, FOLD_COUNT, LESION_OF_OPEN_CLASS, Case, Source
from analysis.training.validation import StillWindows, inner_split


@pytest.mark.parametrize("fold", range(FOLD_COUNT))
def test_the_split_is_of_training_patients(cache, fold):
    """Both parts together are what the fold trains on, share no patient, and both have every source."""
    training, validation = inner_split(cache.training(fold), 0.2)
    assert {c.name for c in training} | {c.name for c in validation} == {c.name for c in cache.training(fold)}
    assert {c.name for c in training}.isdisjoint(c.name for c in validation)
    assert {c.source for c in training} == {c.source for c in validation} == {c.source for c in cache.cases}


def _cases(source, count):
    return [Case(name=f"{source}{k}", source=source, fold=0, start=k, stop=k + 1) for k in range(count)]


def test_pictures_are_split_in_a_block():
    """Of forty pictures the last eight validate, since neighbours may share a patient; volumes are taken evenly."""
    _, validation = inner_split([*_cases(Source.MEDSEG, 40), *_cases(Source.COVID20, 10)], 0.2)
    assert [c.start for c in validation if c.source is Source.MEDSEG] == list(range(32, 40))
    assert [c.start for c in validation if c.source is Source.COVID20] == [2, 7]


def test_a_single_case_cannot_be_split():
    """With one case a source there is nothing to keep."""
    with pytest.raises(ValueError, match="too few cases"):
        inner_split(_cases(Source.COVID20, 1), 0.2)


def test_windows_come_as_they_are(cache):
    """All slices of the cases once, in order, with their labels; a window's middle is the slice; ends are repeated."""
    case = next(c for c in cache.cases if c.source is Source.COVID20 and c.start)
    store = SliceStore(cache, torch.device("cpu"))
    windows = StillWindows(store, [case], slices=5, split_hu=-200.0, batch=2)
    batches = list(windows)
    assert [len(batch.hu) for batch in batches] == [2, 1]
    assert windows.windows == 3
    hu, classes, weak = (
        torch.cat([get(b) for b in batches])
        for get in (lambda b: b.hu, lambda b: b.target.classes, lambda b: b.target.weak)
    )
    np.testing.assert_array_equal(classes, cache.mask[case.start : case.stop] & CLASS_BITS)
    middle = np.minimum(cache.grey[case.start : case.stop] * 8.0 - 1024, 600)
    np.testing.assert_allclose(hu[:, 2], middle)
    np.testing.assert_allclose(hu[0, 0], middle[0])
    lesion = classes == LESION_OF_OPEN_CLASS
    assert (weak[lesion & (hu[:, 2] > -150)] == 2).float().mean() > 0.9
