"""The runs of a cross-validation, asked about the cases that they did not see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from analysis.training.augment import SliceStore
from analysis.training.datasets import FOLD_COUNT, Cache, Case, Source
from analysis.training.evaluation import predict
from analysis.training.export import network_of, read_run
from analysis.training.trainer import normalisation_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutRun:
    """The run of one fold, ready to predict."""

    cache: Cache
    store: SliceStore
    fold: int
    network: nn.Module
    slices: int
    mean_hu: float
    sd_hu: float

    @classmethod
    def read(cls, cache: Cache, checkpoint: Path, fold: int) -> "HeldOutRun":
        """The run of a checkpoint."""
        run = read_run(checkpoint, str(fold), None)
        mean_hu, sd_hu = normalisation_of(run.recipe, cache, cache.training(fold))
        return cls(
            cache=cache,
            store=SliceStore(cache, torch.device("cpu")),
            fold=fold,
            network=network_of(run),
            slices=run.recipe.network.slices,
            mean_hu=mean_hu,
            sd_hu=sd_hu,
        )

    def cases(self, sources: Sequence[Source]) -> tuple[Case, ...]:
        """The cases of these sources that it did not see."""
        return tuple(case for case in self.cache.held_out(self.fold) if case.source in sources)

    def lesion_probability(self, case: Case, *, context: bool = True) -> NDArray[np.float32]:
        """Of both opacities together, ``(slice, row, column)``; without context the centre slice stands in for all."""
        classes = predict(
            self.network,
            self.store,
            case,
            mean_hu=self.mean_hu,
            sd_hu=self.sd_hu,
            slices=self.slices,
            context=context,
        )
        return 1 - classes[:, 0]


def held_out_runs(cache: Cache, checkpoints: Path, recipe: str) -> Iterator[HeldOutRun]:
    """The runs of a recipe whose checkpoints ``RECIPE-FOLD.pt`` are there, fold by fold."""
    for fold in range(FOLD_COUNT):
        checkpoint = checkpoints / f"{recipe}-{fold}.pt"
        if checkpoint.exists():
            yield HeldOutRun.read(cache, checkpoint, fold)
