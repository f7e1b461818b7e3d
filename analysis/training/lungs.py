"""Train the lung network on manual lungs, and cross-validate it by patient.

``python -m analysis.training.lungs --data FOLDER --out analysis/weights/lungs --folds 0 1 2 3 4`` reads ``lctsc`` and
``covid20`` under the folder, cross-validates, then trains on all scans and exports the weights with their manifest and
the figures of every scan that was held out. With ``--work FOLDER`` a training that was broken off is resumed, and
networks that are done are not trained again.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from analysis.anatomy.classical import classical_lungs
from analysis.anatomy.lung_field import Border, tell_lungs
from analysis.anatomy.lung_network import CLASS_COUNT, GRID_MM, lung_network
from analysis.anatomy.lungs import WEIGHTS_NAME, draw_lungs, working_grid
from analysis.anatomy.unet import UNet
from analysis.anatomy.weights import write_weights
from analysis.training.datasets import FOLD_COUNT, Source
from analysis.training.fitting import Fitting, fit
from analysis.training.lung_cases import LungCase, LungScan, even_case, read_scans
from analysis.training.lung_examples import example

WIDTHS = (16, 32, 48, 64)
STEPS = 450
RATE = 2e-3
_ENTROPY_WEIGHT = 3.0
_SMOOTHING_VOXELS = 20.0
_UNDECIDED = 6.0
"""Logits within which the border is still to be settled."""
_LESION_COUNTS = 16.0
_BORDER_STEP = 2
_SAMPLED_VOXELS = 40_000
_FIRST_BORDER = Border(network=1.0, air=1.0, classical=1.0, offset=0.0)
_LOG = logging.getLogger(__name__)

Figures = Mapping[str, float | str | None]


def train(
    cases: Sequence[LungCase], *, fitting: Fitting, widths: tuple[int, ...] = WIDTHS, checkpoint: Path | None = None
) -> UNet:
    """Train on these scans."""
    torch.manual_seed(fitting.seed)
    network = lung_network(widths)

    def draw(index: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        return example(cases[index], random).tensors(network.stride)

    fit(network, draw, _loss, cases=len(cases), fitting=fitting, checkpoint=checkpoint)
    return network


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


def fit_border(network: UNet, scans: Sequence[LungScan], *, seed: int = 0) -> Border:
    """How much the network's certainty, air and the classical method count at the border, by logistic regression.

    Every other scan is looked at, and counts alike, by as many voxels near the border; a voxel of lesion, which is not
    to be lost, counts eight times.
    """
    random = np.random.default_rng(seed)
    rows: list[npt.NDArray[np.generic]] = []
    truths: list[npt.NDArray[np.generic]] = []
    counts: list[npt.NDArray[np.generic]] = []
    for scan in scans[::_BORDER_STEP]:
        grid = working_grid(scan.volume, scan.known)
        field = tell_lungs(network, grid, scan.volume.slice_positions_mm, classical_lungs(grid))
        logit = np.stack([field.logit(index) for index in range(len(grid.hu))])
        truth = _reduced(scan.lung, grid.hu.shape)
        known = np.ones_like(truth) if scan.known is None else _reduced(scan.known, grid.hu.shape)
        chosen = np.flatnonzero(((np.abs(logit) < _UNDECIDED) & known).reshape(-1))
        chosen = random.choice(chosen, min(_SAMPLED_VOXELS, len(chosen)), replace=False)
        said = np.stack([field.said(index) for index in range(len(grid.hu))]).reshape(-1)[chosen]
        air = _FIRST_BORDER.aeration(grid.hu.reshape(-1)[chosen])
        rows.append(np.stack([logit.reshape(-1)[chosen], air, said, np.ones(len(chosen))], 1))
        counts.append(np.where(_reduced(scan.lesion, grid.hu.shape).reshape(-1)[chosen], _LESION_COUNTS, 1.0))
        truths.append(truth.reshape(-1)[chosen])
    features = torch.from_numpy(np.concatenate(rows)).float()
    labels = torch.from_numpy(np.concatenate(truths)).float()
    count = torch.from_numpy(np.concatenate(counts)).float()
    weights = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(features @ weights, labels, weight=count)
        value.backward()
        return value

    optimizer.step(closure)
    fitted = (round(float(value), 4) for value in weights.detach())
    return replace(_FIRST_BORDER, **dict(zip(("network", "air", "classical", "offset"), fitted, strict=True)))


def _reduced(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """What a mask is for the most part on the working grid."""
    if mask.shape == shape:
        return mask
    size = (shape[2], shape[1])
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in mask.astype(np.float32)]
    return np.stack(planes) >= 0.5


def score(network: UNet, border: Border, scan: LungScan) -> dict[str, float | str | None]:
    """Dice of both lungs on the scan's own grid, share of its lesions inside, and volume against the true one."""
    grid = working_grid(scan.volume, scan.known)
    field = tell_lungs(network, grid, scan.volume.slice_positions_mm, classical_lungs(grid))
    found = draw_lungs(field, grid, border, scan.lung.shape) > 0
    lesion = int(np.count_nonzero(scan.lesion))
    total = np.count_nonzero(found) + np.count_nonzero(scan.lung)
    return {
        "source": scan.source.value,
        "dice": round(float(2 * np.count_nonzero(found & scan.lung) / total), 4),
        "lesion_inside": round(float(np.count_nonzero(found & scan.lesion) / lesion), 4) if lesion else None,
        "volume_ratio": round(float(np.count_nonzero(found) / np.count_nonzero(scan.lung)), 4),
    }


def cross_validate(
    scans: Sequence[LungScan],
    cases: Sequence[LungCase],
    *,
    fitting: Fitting,
    folds: Sequence[int] = tuple(range(FOLD_COUNT)),
    widths: tuple[int, ...] = WIDTHS,
    work: Path | None = None,
) -> dict[str, Figures]:
    """Figures of each scan of these folds, by a network and a border that have not seen it."""
    found: dict[str, Figures] = {}
    for fold in folds:
        done = None if work is None else work / f"fold{fold}_{fitting.steps}.json"
        if done is not None and done.exists():
            found |= json.loads(done.read_text())
            continue
        network = _trained(fold, cases, fitting=fitting, widths=widths, work=work)
        border = fit_border(network, [scan for scan in scans if scan.fold != fold], seed=fitting.seed)
        figures = {scan.name: score(network, border, scan) for scan in scans if scan.fold == fold}
        _LOG.info("fold %d: %s %s", fold, json.dumps(figures), border)
        if done is not None:
            done.write_text(json.dumps(figures))
        found |= figures
    return found


def _trained(
    fold: int | None, cases: Sequence[LungCase], *, fitting: Fitting, widths: tuple[int, ...], work: Path | None
) -> UNet:
    """The network of a fold (of all scans: None), from the work folder where it is done already."""
    name = "all" if fold is None else f"fold{fold}"
    done = None if work is None else work / f"{name}_{fitting.steps}.pt"
    if done is not None and done.exists():
        network = lung_network(widths)
        network.load_state_dict(torch.load(done, weights_only=True))
        return network.eval()
    checkpoint = None if work is None else work / f"{name}_{fitting.steps}.partial"
    seen = [case for case in cases if case.fold != fold]
    network = train(seen, fitting=fitting, widths=widths, checkpoint=checkpoint)
    if done is not None:
        torch.save(network.state_dict(), done)
    return network


def report(figures: Mapping[str, Figures]) -> dict[str, object]:
    """Mean and worst Dice and share of lesions inside, by source, and the figures of each scan."""
    found: dict[str, object] = {
        "what": "both lungs against manual ones on held-out scans; split by patient; covid20 at an assumed size"
    }
    for source in (Source.LCTSC, Source.COVID20):
        own = [item for item in figures.values() if item["source"] == source.value]
        for figure in ("dice", "lesion_inside"):
            values = [float(value) for item in own if (value := item[figure]) is not None]
            if values:
                found[f"{source.value}_{figure}"] = {
                    "scans": len(values),
                    "mean": round(float(np.mean(values)), 4),
                    "worst": min(values),
                }
    return found | {"scans": dict(figures)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lctsc/ and covid20/")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, manifest and report")
    parser.add_argument("--work", type=Path, help="folder for checkpoints and networks that are done; resumes from it")
    parser.add_argument("--folds", type=int, nargs="*", default=[], help="cross-validate these folds of 0 to 4 first")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scans = tuple(read_scans(arguments.data))
    cases = tuple(even_case(scan) for scan in scans)
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    fitting = Fitting(steps=arguments.steps, seed=arguments.seed, rate=RATE)
    figures = cross_validate(scans, cases, fitting=fitting, folds=arguments.folds, work=arguments.work)
    network = _trained(None, cases, fitting=fitting, widths=WIDTHS, work=arguments.work)
    border = fit_border(network, scans, seed=arguments.seed)
    manifest = {
        "name": "right and left lung",
        "version": "0.1.0",
        "widths": list(network.widths),
        "grid_mm": GRID_MM,
        "border": asdict(border),
        "training": {
            "scans": len(cases),
            "steps": fitting.steps,
            "seed": fitting.seed,
            "data": "LCTSC (CC BY 3.0); COVID-19 CT Lung and Infection Segmentation (non-commercial)",
        },
    }
    write_weights(arguments.out, WEIGHTS_NAME, manifest, network.state_dict(), evaluation=report(figures))


if __name__ == "__main__":
    main()
