"""Train the lobe network on label maps, and cross-validate it by patient.

``python -m analysis.training.lobes --maps FOLDER --out analysis/weights/lobes --folds 0 1 2 3 4`` cross-validates, then
trains on all maps and exports the weights with their manifest and the Dice of every map that was held out. With
``--work FOLDER`` a training that was broken off is resumed, and folds that are done are not done again.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analysis.anatomy.lobe_network import CLASS_COUNT, GRID_MM, lobe_network, side_logits, stored
from analysis.anatomy.lobe_shape import LobeShape
from analysis.anatomy.lobes import LOBE_LABELS, WEIGHTS_NAME, tell_lobes
from analysis.anatomy.unet import UNet
from analysis.anatomy.weights import write_weights
from analysis.training.fitting import Fitting, fit
from analysis.training.lobe_maps import FIRST_LABEL, LobeMap, example, load_maps, scan_of
from analysis.training.lobe_shapes import Shapes

LOBE_NAMES = ("RUL", "RML", "RLL", "LUL", "LLL")
FOLD_COUNT = 5
WIDTHS = (16, 32, 64, 96)
STEPS = 900
WHOLE = "whole"
PARTS = {WHOLE: (0.0, 1.0), "upper half": (0.5, 1.0), "lower half": (0.0, 0.5), "around the heart": (0.15, 0.65)}
"""Parts of the lungs' height, from feet to head, of which lobes are told."""

Dice = tuple[float | None, ...]

_WHAT = "Dice of lobes on held-out label maps, the true left and right lung given; split by patient"
_SEEN_VOXELS = 80.0
"""Voxels of the grid under which a lobe's part says nothing about its form."""
_LOG = logging.getLogger(__name__)


def train(
    maps: Sequence[LobeMap], *, fitting: Fitting, widths: tuple[int, ...] = WIDTHS, checkpoint: Path | None = None
) -> UNet:
    """Train the network on these maps."""
    torch.manual_seed(fitting.seed)
    network = lobe_network(widths)

    def draw(index: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = example(maps[index], network.stride, random)
        return torch.from_numpy(drawn.inputs)[None], torch.from_numpy(drawn.shares)[None]

    fit(network, draw, _loss, cases=len(maps), fitting=fitting, checkpoint=checkpoint)
    return network


def _loss(logits: Tensor, inputs: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy and soft Dice over lung, both with shares in place of labels."""
    told = functional.log_softmax(side_logits(logits, inputs[:, 0], inputs[:, 1]), 1)
    lung = shares.sum(1)
    entropy = -(shares * told).sum() / lung.sum().clamp(min=1)
    probability = told.exp() * lung[:, None]
    common = 2 * (probability * shares).sum((0, 2, 3, 4))
    present = shares.sum((0, 2, 3, 4))
    dice = common / (probability.square().sum((0, 2, 3, 4)) + shares.square().sum((0, 2, 3, 4)) + 1)
    seen = present > _SEEN_VOXELS
    return entropy + (1 - dice[seen]).mean() if seen.any() else entropy


def score(
    network: UNet, form: LobeShape, map_: LobeMap, part: tuple[float, float] = (0.0, 1.0)
) -> tuple[float | None, ...]:
    """Dice of the five lobes on the map's own grid, the true lungs given; None for a lobe that is not told.

    ``part`` of the lungs' height from feet to head is shown, the rest cut away.
    """
    occupied = np.flatnonzero(map_.lobes.any(axis=(1, 2)))
    low, high = int(occupied[0]), int(occupied[-1]) + 1
    first = 0 if part[0] == 0 else low + round(part[0] * (high - low))
    last = len(map_.lobes) if part[1] == 1 else low + round(part[1] * (high - low))
    truth = map_.lobes[first:last]
    found = tell_lobes(*scan_of(truth, map_.spacing_mm), network, form, GRID_MM)
    dice: list[float | None] = []
    for label, lobe in LOBE_LABELS.items():
        one, other = found.labels == label, truth == label - FIRST_LABEL + 1
        both = np.count_nonzero(one) + np.count_nonzero(other)
        told = lobe in found.confidence_percent
        dice.append(2 * float(np.count_nonzero(one & other)) / both if told and both else None)
    return tuple(dice)


def fold_of(index: int) -> int:
    """The fold of the index-th map."""
    return index % FOLD_COUNT


def cross_validate(
    maps: Sequence[LobeMap],
    *,
    fitting: Fitting,
    folds: Sequence[int] = tuple(range(FOLD_COUNT)),
    widths: tuple[int, ...] = WIDTHS,
    work: Path | None = None,
) -> dict[str, Mapping[str, Dice]]:
    """Dice of each map of these folds, whole and in ``PARTS``, by a network and a model that have not seen the map."""
    found: dict[str, Mapping[str, Dice]] = {}
    for fold in folds:
        seen = [map_ for index, map_ in enumerate(maps) if fold_of(index) != fold]
        network = _trained(seen, f"fold{fold}", fitting=fitting, widths=widths, work=work)
        form = Shapes(seen).fit()
        held_out = [map_ for index, map_ in enumerate(maps) if fold_of(index) == fold]
        scores = {
            map_.name: {name: score(network, form, map_, part) for name, part in PARTS.items()} for map_ in held_out
        }
        _LOG.info("fold %d: %s", fold, json.dumps(report(scores)["mean_dice_by_lobe"]))
        found |= scores
    return found


def report(found: Mapping[str, Mapping[str, Dice]]) -> dict[str, object]:
    """Mean Dice of each lobe and of all over maps that were held out, whole and cut, and the lobes of each map.

    A lobe of whole lungs that is not told counts as 0; of cut lungs those that are told are counted.
    """
    whole = {name: [value or 0.0 for value in parts[WHOLE]] for name, parts in found.items()}
    table = np.asarray(list(whole.values()), np.float64).reshape(-1, CLASS_COUNT)
    if not len(table):
        return {"what": _WHAT, "maps": 0, "mean_dice": None, "mean_dice_by_lobe": {}, "cut": {}, "maps_dice": {}}
    means = table.mean(axis=0)
    return {
        "what": _WHAT,
        "maps": len(table),
        "mean_dice": round(float(means.mean()), 4),
        "mean_dice_by_lobe": {name: round(float(mean), 4) for name, mean in zip(LOBE_NAMES, means, strict=True)},
        "cut": {part: _of_part([parts[part] for parts in found.values()]) for part in PARTS if part != WHOLE},
        "maps_dice": {name: [round(value, 4) for value in values] for name, values in whole.items()},
    }


def _of_part(values: Sequence[Dice]) -> dict[str, dict[str, float | int | None]]:
    """For each lobe in how many maps it is told, and their mean and worst Dice."""
    told = {name: [one[index] for one in values if one[index] is not None] for index, name in enumerate(LOBE_NAMES)}
    return {
        name: {
            "told": len(dice),
            "mean_dice": round(float(np.mean(np.asarray(dice, np.float64))), 4) if dice else None,
            "worst_dice": round(float(np.min(np.asarray(dice, np.float64))), 4) if dice else None,
        }
        for name, dice in told.items()
    }


def _trained(
    maps: Sequence[LobeMap], name: str, *, fitting: Fitting, widths: tuple[int, ...], work: Path | None
) -> UNet:
    """The network of these maps, from the work folder where it is done already."""
    if work is None:
        return train(maps, fitting=fitting, widths=widths)
    work.mkdir(parents=True, exist_ok=True)
    done = work / f"{name}_done.pt"
    if done.exists():
        network = lobe_network(widths)
        network.load_state_dict(torch.load(done, weights_only=True))
        return network.eval()
    network = train(maps, fitting=fitting, widths=widths, checkpoint=work / f"{name}.pt")
    torch.save(network.state_dict(), done)
    return network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=Path, required=True, help="folder of label maps (.npz: lobes, spacing_mm)")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, manifest and report")
    parser.add_argument("--work", type=Path, help="folder for checkpoints and folds that are done; resumes from it")
    parser.add_argument("--folds", type=int, nargs="*", default=[], help="cross-validate these folds of 0 to 4 first")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    maps = load_maps(arguments.maps)
    fitting = Fitting(steps=arguments.steps, seed=arguments.seed)
    dice = cross_validate(maps, fitting=fitting, folds=arguments.folds, work=arguments.work)
    network = _trained(maps, "all", fitting=fitting, widths=WIDTHS, work=arguments.work)
    manifest = {
        "name": "lobes from the shape of the lungs",
        "version": "0.3.0",
        "widths": list(network.widths),
        "grid_mm": GRID_MM,
        "training": {
            "maps": len(maps),
            "steps": fitting.steps,
            "seed": fitting.seed,
            "data": "LUNA16 lobes (CC BY-NC-SA 4.0)",
        },
    }
    state = stored(network, Shapes(maps).fit())
    write_weights(arguments.out, WEIGHTS_NAME, manifest, state, evaluation=report(dice))


if __name__ == "__main__":
    main()
