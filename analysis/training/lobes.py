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

from analysis.anatomy.lobe_network import CLASS_COUNT, GRID_MM, joined, lobe_network, side_logits, stored
from analysis.anatomy.lobe_shape import LobeShape
from analysis.anatomy.lobes import WEIGHTS_NAME
from analysis.anatomy.unet import UNet
from analysis.anatomy.weights import write_weights
from analysis.training.fitting import Fitting, fit
from analysis.training.lobe_maps import MARGIN_MM, LobeMap, example, load_maps
from analysis.training.lobe_shapes import Shapes

LOBE_NAMES = ("RUL", "RML", "RLL", "LUL", "LLL")
FOLD_COUNT = 5
WIDTHS = (16, 32, 64, 96)
STEPS = 800
_RIGHT_LOBES = 3
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


def score(network: UNet, form: LobeShape, map_: LobeMap) -> tuple[float, ...]:
    """Dice of the five lobes on the map's own grid, the true left and right lung given."""
    with torch.inference_mode():
        inputs = example(map_, network.stride).inputs
        scores = form.scores(inputs[0], inputs[1], inputs[2, :, 0, 0] > 0)
        told = joined(network(torch.from_numpy(inputs)[None])[0], torch.from_numpy(scores))[None]
    axes = []
    for axis, count in enumerate(map_.lobes.shape):
        place = ((np.arange(count) + 0.5) * map_.spacing_mm + MARGIN_MM) / GRID_MM
        axes.append(torch.from_numpy((place / told.shape[2 + axis] * 2 - 1).astype(np.float32)))
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    where = torch.stack([x, y, z], -1)[None]
    fine = functional.grid_sample(told, where, align_corners=False, padding_mode="border")[0]
    truth = torch.from_numpy(map_.lobes.astype(np.int64))
    found = torch.where(truth <= _RIGHT_LOBES, fine[:3].argmax(0) + 1, fine[3:].argmax(0) + 4) * (truth > 0)
    return tuple(
        float(2 * ((found == label) & (truth == label)).sum() / ((found == label).sum() + (truth == label).sum()))
        for label in range(1, CLASS_COUNT + 1)
    )


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
) -> dict[str, tuple[float, ...]]:
    """Dice of the five lobes of each map of these folds, by a network that has not seen the map."""
    found: dict[str, tuple[float, ...]] = {}
    for fold in folds:
        seen = [map_ for index, map_ in enumerate(maps) if fold_of(index) != fold]
        network = _trained(seen, f"fold{fold}", fitting=fitting, widths=widths, work=work)
        form = Shapes(seen).fit()
        scores = {map_.name: score(network, form, map_) for index, map_ in enumerate(maps) if fold_of(index) == fold}
        _LOG.info("fold %d: %s", fold, json.dumps(report(scores)["mean_dice_by_lobe"]))
        found |= scores
    return found


def report(dice: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """Mean Dice of each lobe and of all over maps that were held out, and the lobes of each map."""
    table = np.asarray(list(dice.values()), np.float64).reshape(-1, CLASS_COUNT)
    means = table.mean(axis=0) if len(table) else np.full(CLASS_COUNT, np.nan)
    return {
        "what": "Dice of lobes on held-out label maps, the true left and right lung given; split by patient",
        "maps": len(table),
        "mean_dice": round(float(means.mean()), 4) if len(table) else None,
        "mean_dice_by_lobe": {name: round(float(mean), 4) for name, mean in zip(LOBE_NAMES, means, strict=True)}
        if len(table)
        else {},
        "maps_dice": {name: [round(value, 4) for value in values] for name, values in dice.items()},
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
