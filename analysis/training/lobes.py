"""Train the lobe network on label maps, and cross-validate it by patient.

``python -m analysis.training.lobes --maps FOLDER --out analysis/weights/lobes --folds 0 1 2 3 4`` cross-validates, then
trains on all maps and exports the weights with their manifest and the Dice of every map that was held out.
"""

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch.nn import functional

from analysis.anatomy.lobe_network import CLASS_COUNT, GRID_MM, STRIDE, LobeNetwork, network_inputs, side_logits
from analysis.anatomy.lobes import MANIFEST_NAME, WEIGHTS_NAME

FIRST_LABEL = 4
LOBE_NAMES = ("RUL", "RML", "RLL", "LUL", "LLL")
FOLD_COUNT = 5
_MARGIN_MM = 12.0
WIDTHS = (16, 32, 48, 64)
STEPS = 700
_BATCH = 2
_SAID_EVERY = 50
_RIGHT_LOBES = 3
_WORN_SHARE = 0.3
_LOG = logging.getLogger(__name__)
_LEAST_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LobeMap:
    """One patient: ``lobes`` uint8 (slice, row, column), 0 outside, 1 to 5 the lobes; spacing the same on all axes.

    ``shares`` float32 (lobe, slice, row, column) is the same at twice the spacing: which part of a voxel is which lobe.
    """

    name: str
    lobes: NDArray[np.uint8]
    spacing_mm: float
    shares: NDArray[np.float32]
    shares_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LobeExample:
    """What the network sees and should say: inputs (6, slice, row, column), shares of lobes (5, slice, row, column)."""

    inputs: NDArray[np.float32]
    shares: NDArray[np.float32]


def load_maps(folder: Path) -> tuple[LobeMap, ...]:
    """Read every label map of a folder, by name."""
    maps: list[LobeMap] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            labels, spacing = arrays["lobes"], arrays["spacing_mm"]
        known = (labels >= FIRST_LABEL) & (labels < FIRST_LABEL + CLASS_COUNT)
        lobes = np.where(known, labels - (FIRST_LABEL - 1), 0).astype(np.uint8)
        lobes = np.pad(lobes, [(0, -count % 2) for count in lobes.shape])
        hot = np.stack([lobes == label for label in range(1, CLASS_COUNT + 1)]).astype(np.float32)
        shares = functional.avg_pool3d(torch.from_numpy(hot)[None], 2)[0].numpy()
        spacing_mm = float(spacing[0])
        maps.append(
            LobeMap(name=path.stem, lobes=lobes, spacing_mm=spacing_mm, shares=shares, shares_mm=2 * spacing_mm)
        )
    return tuple(maps)


def example(map_: LobeMap, random: np.random.Generator | None = None) -> LobeExample:
    """One map on the network's grid; with ``random`` bent, scaled, turned, cut off and worn."""
    extent = np.asarray(map_.shares.shape[1:]) * map_.shares_mm
    scale = np.ones(3) if random is None else np.exp(random.normal(0, 0.09, 3))
    turn = np.eye(3) if random is None else _rotation(random.normal(0, np.radians(5), 3))
    size_mm = extent * scale + 2 * _MARGIN_MM
    if random is not None:
        size_mm += random.uniform(0, GRID_MM, 3)
    shape = np.ceil(size_mm / GRID_MM).astype(int)
    shape += -shape % STRIDE
    axes = [(np.arange(count) + 0.5) * GRID_MM - size_mm[axis] / 2 for axis, count in enumerate(shape)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    if random is not None:
        points += _bend(random, tuple(shape))
    points = np.einsum("ij,jzyx->zyxi", turn / scale[:, None] / (extent / 2)[:, None], points, optimize=True)
    where = torch.from_numpy(np.ascontiguousarray(points[..., ::-1], np.float32))
    found = functional.grid_sample(torch.from_numpy(map_.shares)[None], where[None], align_corners=False)[0].numpy()
    shares = np.where(found > _LEAST_SHARE, found, np.float32(0))
    imaged = np.ones(shape[0], bool)
    if random is not None:
        imaged = _cut(random, shares)
        shares[:, ~imaged] = 0
    right, left = shares[:3].sum(axis=0), shares[3:].sum(axis=0)
    if random is not None:
        right, left = _worn(random, right), _worn(random, left)
        shares = shares * ((right + left) > 0)
    return LobeExample(inputs=network_inputs(right, left, imaged), shares=shares)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def _bend(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A smooth displacement in mm, (3, slice, row, column): long waves, and shorter ones of less height."""
    bend = torch.zeros((1, 3, *shape))
    for knots, spread_mm in ((4, 7.0), (8, 2.5)):
        coarse = torch.from_numpy(random.normal(0, spread_mm, (1, 3, knots, knots, knots)).astype(np.float32))
        bend += functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)
    return bend[0].numpy()


def _cut(random: np.random.Generator, shares: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Levels that a scan holds: in a third of the examples lungs are cut off below, above or at both ends."""
    imaged = np.ones(shares.shape[1], bool)
    occupied = np.flatnonzero(shares.sum(axis=(0, 2, 3)) > 0)
    height = len(occupied)
    below, above = random.random(2) < (0.2, 0.2)
    if below:
        imaged[: occupied[0] + int(random.uniform(0.02, 0.45) * height)] = False
    if above:
        imaged[occupied[-1] + 1 - int(random.uniform(0.02, 0.45) * height) :] = False
    return imaged


def _worn(random: np.random.Generator, lung: NDArray[np.float32]) -> NDArray[np.float32]:
    """A lung as segmentations leave it: a bite missing now and then, borders a little off."""
    worn = lung
    if random.random() < _WORN_SHARE:
        places = np.argwhere(lung > 0)
        if len(places):
            middle = places[random.integers(len(places))]
            radius = random.uniform(1.5, 4.5)
            distance = np.sqrt(
                sum((axis - at) ** 2 for axis, at in zip(np.ogrid[tuple(map(slice, lung.shape))], middle, strict=True))
            )
            worn = worn * np.clip(distance - radius, 0, 1)
    return np.clip(worn * random.uniform(0.9, 1.1) + (worn > 0) * random.uniform(-0.15, 0.15), 0, 1).astype(np.float32)


def train(maps: tuple[LobeMap, ...], *, steps: int, seed: int = 0, widths: tuple[int, ...] = WIDTHS) -> LobeNetwork:
    """Train on these maps with AdamW, warm-up and a cosine to nothing; the weights returned are a running mean."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = LobeNetwork(widths)
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98))
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    order: list[int] = []
    started = time.perf_counter()
    for step in range(steps):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(_BATCH):
            order = order or random.permutation(len(maps)).tolist()
            drawn = example(maps[order.pop()], random)
            loss = _loss(network, drawn) / _BATCH
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean.update_parameters(network)
        if step % _SAID_EVERY == _SAID_EVERY - 1:
            _LOG.info("step %d of %d, loss %.3f, %.0f s", step + 1, steps, total, time.perf_counter() - started)
    learned = LobeNetwork(widths)
    learned.load_state_dict(mean.module.state_dict())
    return learned.eval()


def _loss(network: LobeNetwork, drawn: LobeExample) -> torch.Tensor:
    """Cross-entropy and soft Dice over lung, both with shares in place of labels."""
    inputs = torch.from_numpy(drawn.inputs)[None]
    shares = torch.from_numpy(drawn.shares)[None]
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(inputs)
    logits = side_logits(logits.float(), inputs[:, 0], inputs[:, 1])
    lung = shares.sum(1)
    told = functional.log_softmax(logits, 1)
    entropy = -(shares * told).sum() / lung.sum().clamp(min=1)
    probability = told.exp() * lung[:, None]
    common = 2 * (probability * shares).sum((0, 2, 3, 4))
    present = shares.sum((0, 2, 3, 4))
    dice = common / (probability.square().sum((0, 2, 3, 4)) + shares.square().sum((0, 2, 3, 4)) + 1)
    seen = present > 20  # noqa: PLR2004 - voxels of the grid; less of a lobe says nothing about its form
    return entropy + (1 - dice[seen]).mean() if seen.any() else entropy


def score(network: LobeNetwork, map_: LobeMap) -> tuple[float, ...]:
    """Dice of the five lobes on the map's own grid, the true left and right lung given."""
    drawn = example(map_)
    inputs = torch.from_numpy(drawn.inputs)[None]
    with torch.inference_mode():
        logits = network(inputs)
    extent = np.asarray(map_.lobes.shape) * map_.spacing_mm
    size_mm = extent + 2 * _MARGIN_MM
    axes = []
    for axis, count in enumerate(map_.lobes.shape):
        place = ((np.arange(count) + 0.5) * map_.spacing_mm + (size_mm[axis] - extent[axis]) / 2) / GRID_MM
        axes.append(torch.from_numpy((place / logits.shape[2 + axis] * 2 - 1).astype(np.float32)))
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    fine = functional.grid_sample(logits, torch.stack([x, y, z], -1)[None], align_corners=False, padding_mode="border")[
        0
    ]
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
    maps: Sequence[LobeMap], *, steps: int = STEPS, folds: Sequence[int] = tuple(range(FOLD_COUNT)), seed: int = 0
) -> dict[str, tuple[float, ...]]:
    """Dice of the five lobes of each map of these folds, by a network that has not seen the map."""
    found: dict[str, tuple[float, ...]] = {}
    for fold in folds:
        network = train(tuple(m for k, m in enumerate(maps) if fold_of(k) != fold), steps=steps, seed=seed)
        found |= {m.name: score(network, m) for k, m in enumerate(maps) if fold_of(k) == fold}
    return found


def export(
    network: LobeNetwork, directory: Path, *, steps: int, maps: int, dice: Mapping[str, Sequence[float]]
) -> None:
    """Write weights, manifest (the last, so that half a folder is refused) and the report of the cross-validation."""
    content = save({key: value.detach().contiguous() for key, value in network.state_dict().items()})
    manifest = {
        "name": "lobes from the shape of the lungs",
        "version": "0.1.0",
        "sha256": hashlib.sha256(content).hexdigest(),
        "widths": list(network.widths),
        "grid_mm": GRID_MM,
        "training": {"maps": maps, "steps": steps, "batch": _BATCH, "data": "LUNA16 lobes (CC BY-NC-SA 4.0)"},
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / WEIGHTS_NAME).write_bytes(content)
    (directory / "evaluation.json").write_text(json.dumps(report(dice), indent=2) + "\n")
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n")


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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=Path, required=True, help="folder of label maps (.npz: lobes, spacing_mm)")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, manifest and report")
    parser.add_argument("--folds", type=int, nargs="*", default=[], help="cross-validate these folds of 0 to 4 first")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    maps = load_maps(arguments.maps)
    dice = cross_validate(maps, steps=arguments.steps, folds=arguments.folds, seed=arguments.seed)
    network = train(maps, steps=arguments.steps, seed=arguments.seed)
    export(network, arguments.out, steps=arguments.steps, maps=len(maps), dice=dice)


if __name__ == "__main__":
    main()
