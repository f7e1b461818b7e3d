"""How the border of the lungs is drawn: how much each sign of lung counts, by logistic regression."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from analysis.anatomy.classical import classical_lungs
from analysis.anatomy.lung_field import Border, LungNetworks, tell_lungs
from analysis.anatomy.lungs import working_grid
from analysis.training.lung_cases import LungScan

_UNDECIDED = 6.0
"""Logits within which the border is still to be settled."""
_LESION_COUNTS = 16.0
_RIDGE = 1e-4
"""Holds the weights where the signs tell lung apart without fail, or say the same; elsewhere it changes nothing."""
_BORDER_STEP = 2
_SAMPLED_VOXELS = 40_000
_FIRST_BORDER = Border(network=1.0, air=1.0, classical=1.0, offset=0.0)
_WEIGHTS = ("network", "air", "classical", "offset", "dense_network", "dense_cavity", "dense_classical")


def fit_border(networks: LungNetworks, scans: Sequence[LungScan], *, seed: int = 0) -> Border:
    """How much certainty, air and the classical method count at the border.

    Every other scan is looked at, and counts alike, by as many voxels near the border; a voxel of lesion, which is not
    to be lost, counts sixteen times. Lungs that are opaque throughout are left to the cavities: with these among the
    scans the border would run through muscle and liver.
    """
    random = np.random.default_rng(seed)
    rows: list[npt.NDArray[np.generic]] = []
    truths: list[npt.NDArray[np.generic]] = []
    counts: list[npt.NDArray[np.generic]] = []
    for scan in scans[::_BORDER_STEP]:
        grid = working_grid(scan.volume, scan.known)
        field = tell_lungs(networks, grid, scan.volume.slice_positions_mm, classical_lungs(grid))
        logit = np.stack([field.logit(index) for index in range(len(grid.hu))])
        truth = _reduced(scan.lung, grid.hu.shape)
        known = np.ones_like(truth) if scan.known is None else _reduced(scan.known, grid.hu.shape)
        chosen = np.flatnonzero(((np.abs(logit) < _UNDECIDED) & known).reshape(-1))
        chosen = random.choice(chosen, min(_SAMPLED_VOXELS, len(chosen)), replace=False)
        said = np.stack([field.said(index) for index in range(len(grid.hu))]).reshape(-1)[chosen]
        space = np.stack([field.space(index) for index in range(len(grid.hu))]).reshape(-1)[chosen]
        air, own = _FIRST_BORDER.aeration(grid.hu.reshape(-1)[chosen]), logit.reshape(-1)[chosen]
        dense = (1 - air) / 2
        rows.append(np.stack([own, air, said, np.ones(len(chosen)), dense * own, dense * space, dense * said], 1))
        counts.append(np.where(_reduced(scan.lesion, grid.hu.shape).reshape(-1)[chosen], _LESION_COUNTS, 1.0))
        truths.append(truth.reshape(-1)[chosen])
    features = torch.from_numpy(np.concatenate(rows)).float()
    labels = torch.from_numpy(np.concatenate(truths)).float()
    count = torch.from_numpy(np.concatenate(counts)).float()
    weights = torch.ones(len(_WEIGHTS), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(features @ weights, labels, weight=count)
        value = value + _RIDGE * weights.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    fitted = (round(float(value), 4) for value in weights.detach())
    return replace(_FIRST_BORDER, **dict(zip(_WEIGHTS, fitted, strict=True)))


def _reduced(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """What a mask is for the most part on the working grid."""
    if mask.shape == shape:
        return mask
    size = (shape[2], shape[1])
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in mask.astype(np.float32)]
    return np.stack(planes) >= 0.5
