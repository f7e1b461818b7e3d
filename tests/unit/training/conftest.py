"""A small synthetic cache: lungs with bright blobs that are lesions, of every source and fold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.training.augment import SliceStore
from analysis.training.datasets import (
    FOLD_COUNT,
    KNOWN,
    LESION_OF_OPEN_CLASS,
    LUNG,
    SIZE,
    Cache,
    Case,
    Source,
    encode_hu,
    fold_of,
)
from analysis.training.held_out import HeldOutRun
from analysis.training.recipes import AugmentRecipe, DataRecipe, NetworkRecipe, OptimiserRecipe, Recipe

SLICES_A_CASE = 3
LESION_HU = -300.0


def _case(source, generator):
    """Grey and mask of one case; controls have no blob, medseg's are of two classes."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    count = 1 if source is Source.MEDSEG else SLICES_A_CASE
    lung = ((rows - 128) / 110) ** 2 + ((columns - 128) / 100) ** 2 < 1
    hu = np.where(lung, -850.0, 40.0) + generator.normal(0, 20, (count, SIZE, SIZE))
    label = np.zeros((count, SIZE, SIZE), np.uint8)
    if source is not Source.LCTSC:
        for k, (row, column) in enumerate(((90, 90), (160, 150))):
            blob = (rows - row) ** 2 + (columns - column) ** 2 < 30**2
            hu[:, blob] = LESION_HU + 250 * k
            label[:, blob] = (1 + k) if source is Source.MEDSEG else LESION_OF_OPEN_CLASS
    mask = label | np.uint8(KNOWN) | (lung * np.uint8(LUNG))
    return encode_hu(hu), mask.astype(np.uint8)


@pytest.fixture(scope="session")
def cache():
    """Ten volumes of each kind of patient and five pictures."""
    generator = np.random.default_rng(0)
    greys, masks, cases, at = [], [], [], 0
    for source, patients in ((Source.COVID20, 5), (Source.LCTSC, 5), (Source.MEDSEG, 5)):
        for index in range(patients):
            grey, mask = _case(source, generator)
            fold = fold_of(source, index, patients)
            cases.append(Case(name=f"{source.value}_{index}", source=source, fold=fold, start=at, stop=at + len(grey)))
            at += len(grey)
            greys.append(grey)
            masks.append(mask)
    assert {case.fold for case in cases} == set(range(FOLD_COUNT))
    return Cache(grey=np.concatenate(greys), mask=np.concatenate(masks), cases=tuple(cases))


class _Undecided(torch.nn.Module):
    """Every class is as likely as the others."""

    def forward(self, windows):
        """Logits."""
        return windows.new_zeros(len(windows), 3, SIZE, SIZE)


@pytest.fixture
def hospital_run(cache):
    """The run of fold 0 of the same scans as a hospital's own; the network calls everything lesion at two thirds."""
    own = {Source.COVID20: Source.HOSPITAL, Source.LCTSC: Source.HOSPITAL_CONTROL}
    cases = tuple(replace(case, source=own.get(case.source, case.source)) for case in cache.cases)
    hospital = Cache(grey=cache.grey, mask=cache.mask, cases=cases)
    store = SliceStore(hospital, torch.device("cpu"))
    return HeldOutRun(cache=hospital, store=store, fold=0, network=_Undecided(), slices=3, mean_hu=-700.0, sd_hu=200.0)


@pytest.fixture
def recipe():
    """A small network on small crops."""
    return Recipe(
        name="small",
        network=NetworkRecipe(lstm_maps=2, head_maps=(8, 8), restructured=True),
        optimiser=OptimiserRecipe(learning_rate=5e-3, warmup=0.1, average_decay=0.9),
        data=DataRecipe(batch=3, crop=32, medseg=0.34),
        augment=AugmentRecipe(),
    )


@pytest.fixture
def still():
    """Augmentation that changes nothing."""
    return AugmentRecipe(
        rotation_deg=0,
        scale=(1.0, 1.0),
        shift_px=0,
        flip=False,
        hu_shift=0,
        hu_gain=0,
        noise_hu=0,
        blur=0,
        sharpen=0,
        ctac=0,
        slab=0,
        max_stride=1,
        alone=0,
        upper_clip=0,
        density=0,
        expired_controls=0,
        paste=0,
        synthetic=0,
    )


@pytest.fixture(autouse=True)
def _one_thread():
    """One thread, so that sums are made in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
