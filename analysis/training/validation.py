"""Validation inside a fold: some of its training patients are kept from training and their loss is followed.

The patients that the fold holds out take no part: a learning rate or a choice of weights that followed them would
have seen the cases that the fold is judged by.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from analysis.model.network import GROUND_GLASS, HIGH_OPACITY
from analysis.training.augment import Batch, SliceStore
from analysis.training.datasets import CLASS_BITS, KNOWN, Case, Source
from analysis.training.losses import Target

_CEILING_HU = 600.0


def inner_split(cases: Sequence[Case], share: float) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Training and validation cases; of each source about this share is kept for validation, at least one of two.

    Patients are taken evenly over their order. Pictures of medseg are taken from its end in one block, because
    neighbours may share a patient.
    """
    kept: set[str] = set()
    for source in Source:
        names = [case.name for case in cases if case.source is source]
        if len(names) > 1:
            count = min(max(1, round(share * len(names))), len(names) - 1)
            evenly = [names[int((k + 0.5) * len(names) / count)] for k in range(count)]
            kept.update(names[-count:] if source is Source.MEDSEG else evenly)
    if not kept:
        raise ValueError("too few cases to keep some of them for validation: a source needs two at least")
    return tuple(c for c in cases if c.name not in kept), tuple(c for c in cases if c.name in kept)


class StillWindows:
    """The windows of cases as they are, not varied, in their order: what validation looks at."""

    def __init__(self, store: SliceStore, cases: Sequence[Case], *, slices: int, split_hu: float, batch: int) -> None:
        self._store = store
        self._index = torch.cat([torch.arange(case.start, case.stop) for case in cases]).to(store.device)
        self._offsets = torch.arange(slices, device=store.device) - slices // 2
        self._split_hu = split_hu
        self._batch = batch

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self._index)

    def __iter__(self) -> Iterator[Batch]:
        """Batches, the last one may be smaller; HU ``(window, slice, row, column)``."""
        for index in self._index.split(self._batch):
            around = self._store.neighbours(index, self._offsets.expand(len(index), -1))
            hu = self._store.hu(around).clamp(max=_CEILING_HU)
            yield Batch(hu=hu, target=self._target(hu, self._store.mask[index]))

    def _target(self, hu: Tensor, mask: Tensor) -> Target:
        middle = hu.shape[1] // 2
        smooth = functional.avg_pool2d(hu[:, middle : middle + 1], 3, stride=1, padding=1, count_include_pad=False)
        weak = torch.where(smooth.squeeze(1) > self._split_hu, HIGH_OPACITY, GROUND_GLASS).to(torch.uint8)
        return Target(classes=mask & CLASS_BITS, weak=weak, known=(mask & KNOWN) > 0)
