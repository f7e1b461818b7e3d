"""The two networks of the lungs, trained: lung at 5 mm and the pleural cavities at 10 mm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from analysis.anatomy.cavity_network import cavity_inputs, cavity_network
from analysis.anatomy.lung_field import LungNetworks
from analysis.anatomy.lung_network import CLASS_COUNT, lung_network, network_inputs
from analysis.anatomy.unet import UNet
from analysis.training.datasets import Source
from analysis.training.fitting import Fitting, fit
from analysis.training.lung_cases import LungCase
from analysis.training.lung_examples import CAVITY_FRAME, LUNG_FRAME, Frame, example

WIDTHS = (16, 32, 48, 64)
_ENTROPY_WEIGHT = 3.0
_SMOOTHING_VOXELS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one of the networks is trained for.

    Whole chests, which alone show the ribs, are drawn ``whole_chests`` times as often as crops to the lungs.
    """

    name: str
    build: Callable[[tuple[int, ...]], UNet]
    inputs: Callable[[NDArray[np.float32], int], NDArray[np.float32]]
    frame: Frame
    whole_chests: int


LUNGS = Task(name="lungs", build=lung_network, inputs=network_inputs, frame=LUNG_FRAME, whole_chests=1)
CAVITIES = Task(name="cavities", build=cavity_network, inputs=cavity_inputs, frame=CAVITY_FRAME, whole_chests=2)


def train(
    task: Task,
    cases: Sequence[LungCase],
    *,
    fitting: Fitting,
    widths: tuple[int, ...] = WIDTHS,
    checkpoint: Path | None = None,
) -> UNet:
    """Train a network on these scans."""
    torch.manual_seed(fitting.seed)
    network = task.build(widths)
    whole = [case for case in cases if case.source is Source.LCTSC]
    drawn = [*cases, *whole * (task.whole_chests - 1)]

    def draw(index: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        piece = example(drawn[index], random, task.frame)
        return torch.from_numpy(task.inputs(piece.hu, network.stride))[None], piece.targets

    fit(network, draw, _loss, cases=len(drawn), fitting=fitting, checkpoint=checkpoint)
    return network


def trained(
    fold: int | None,
    cases: Sequence[LungCase],
    *,
    lungs: Fitting,
    cavities: Fitting,
    widths: tuple[int, ...] = WIDTHS,
    work: Path | None = None,
) -> LungNetworks:
    """Both networks of a fold (of all scans: None), from the work folder where they are done already."""
    seen = [case for case in cases if case.fold != fold]
    found: list[UNet] = []
    for task, fitting in ((LUNGS, lungs), (CAVITIES, cavities)):
        name = f"{task.name}_{'all' if fold is None else f'fold{fold}'}_{fitting.steps}"
        done = None if work is None else work / f"{name}.pt"
        if done is not None and done.exists():
            network = task.build(widths)
            network.load_state_dict(torch.load(done, weights_only=True))
            found.append(network.eval())
            continue
        checkpoint = None if work is None else work / f"{name}.partial"
        found.append(train(task, seen, fitting=fitting, widths=widths, checkpoint=checkpoint))
        if done is not None:
            torch.save(found[-1].state_dict(), done)
    return LungNetworks(lungs=found[0], cavities=found[1])


def _loss(logits: Tensor, _inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of both lungs, with shares in place of labels, where the truth is known."""
    levels, rows, columns = targets.shape[2:]
    shares, known = targets[:, :CLASS_COUNT], targets[:, CLASS_COUNT]
    told = functional.log_softmax(logits[:, :, :levels, :rows, :columns], 1)
    entropy = -((shares * told).sum(1) * known).sum() / known.sum().clamp(min=1)
    probability, lungs = told[:, 1:].exp() * known[:, None], shares[:, 1:] * known[:, None]
    common = 2 * (probability * lungs).sum((0, 2, 3, 4))
    both = probability.square().sum((0, 2, 3, 4)) + lungs.square().sum((0, 2, 3, 4))
    return _ENTROPY_WEIGHT * entropy + (1 - (common + _SMOOTHING_VOXELS) / (both + _SMOOTHING_VOXELS)).mean()
