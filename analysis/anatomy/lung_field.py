"""How much each place of a scan looks like right or left lung, from the network, and the border drawn from it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cc3d
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from analysis.anatomy.air import Grid, Mask
from analysis.anatomy.classical import ClassicalLungs
from analysis.anatomy.coarse import CoarseGrid, Plane
from analysis.anatomy.sides import LEFT, RIGHT, Labels

if TYPE_CHECKING:
    from analysis.anatomy.unet import UNet  # torch takes seconds to load; only an analysis needs it

_FAR = 12.0
"""Logits beyond this say nothing more."""

_TISSUE_HU = -500.0
_BODY_VOXELS = 6
"""A row or column of the grid that holds tissue in fewer levels and places than this lies outside the body."""

_MARGIN = 3
_GAS_HU = -960.0
"""Lower quartile under which a piece is bare gas; lung, even emphysema, is mixed with tissue on a grid of 5 mm."""

LEAST_SHARE, LEAST_ML = 0.04, 20.0
"""Of the larger lung, and by itself: what is smaller and hangs together with no lung is none."""
_STRAY_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """How the border of the lung is drawn from network, density and classical method, by logistic regression.

    A place is lung where ``network`` x logit + ``air`` x aeration + ``classical`` x its say + ``offset`` > 0.
    ``aeration`` goes from -1 at ``dense_hu`` and above to 1 at ``aerated_hu`` and below; the classical method says 1 in
    the lungs that it found and -1 elsewhere.
    """

    network: float
    air: float
    classical: float
    offset: float
    aerated_hu: float = -650.0
    dense_hu: float = -150.0

    def score(self, logit: Plane, hu: Plane, classical: Plane) -> Plane:
        """Lung above 0, on the grid that all three have, (row, column)."""
        said = self.network * logit + self.air * self.aeration(hu) + self.classical * classical
        return np.asarray(said + self.offset, np.float32)

    def aeration(self, hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """How aerated a place is, -1 to 1."""
        middle, half = (self.aerated_hu + self.dense_hu) / 2, (self.dense_hu - self.aerated_hu) / 2
        return np.clip((np.float32(middle) - hu) * np.float32(1 / half), -1, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungField:
    """Logits on an even grid (level, row, column): ``lung`` against none, ``left`` against right.

    ``classical`` is what the classical method says, -1 to 1, on its own grid ``looked``.
    """

    grid: CoarseGrid
    lung: npt.NDArray[np.float32]
    left: npt.NDArray[np.float32]
    looked: CoarseGrid
    classical: npt.NDArray[np.float32]

    def logit(self, index: int) -> Plane:
        """The logit of lung in a slice of the working grid, (row, column)."""
        return self.grid.enlarged(self.grid.level(self.lung, index))

    def said(self, index: int) -> Plane:
        """What the classical method says in a slice of the working grid, (row, column)."""
        return self.looked.enlarged(self.looked.level(self.classical, index))

    def sides(self, index: int) -> Labels:
        """The side to which each pixel of a slice would belong, were it lung."""
        left = self.grid.enlarged(self.grid.level(self.left, index)) > 0
        return np.where(left, np.uint8(LEFT), np.uint8(RIGHT))


def tell_lungs(
    network: "UNet", grid: Grid, positions_mm: npt.NDArray[np.float64], classical: ClassicalLungs
) -> LungField:
    """Ask the network about a scan on the working grid; what lies outside the body or in its airways is no lung."""
    from analysis.anatomy.lung_network import GRID_MM, lung_logits

    plane = (grid.hu.shape[1], grid.hu.shape[2])
    coarse = CoarseGrid.over(positions_mm, plane, (grid.row_mm, grid.column_mm), GRID_MM)
    hu = coarse.gather(grid.hu)
    box = _body_box(hu)
    lung, left = np.full(hu.shape, -_FAR, np.float32), np.zeros(hu.shape, np.float32)
    if box is not None:
        neither, right_lung, left_lung = lung_logits(network, np.ascontiguousarray(hu[box]))
        lung[box] = np.clip(np.logaddexp(right_lung, left_lung) - neither, -_FAR, _FAR)
        left[box] = np.clip(left_lung - right_lung, -_FAR, _FAR)
        lung[_ruled_out(coarse, classical)] = -_FAR
        _leave_out_others(lung, hu, GRID_MM**3 / 1000)
        _join_strays(lung > 0, left)
    looked = replace(coarse, levels_mm=positions_mm[classical.indices], shape=classical.labels.shape[1:])
    said = np.where(classical.labels > 0, np.float32(1), np.float32(-1))
    return LungField(grid=coarse, lung=lung, left=left, looked=looked, classical=said)


def _ruled_out(coarse: CoarseGrid, classical: ClassicalLungs) -> Mask:
    """Where the body ends, or holds bare gas, on the grid, (level, row, column)."""
    looked = replace(coarse, positions_mm=coarse.positions_mm[classical.indices])
    allowed = classical.body & ~classical.gas
    return looked.gather(plane * np.uint8(255) for plane in allowed) < 127.5


def _body_box(hu: npt.NDArray[np.float32]) -> tuple[slice, slice, slice] | None:
    """The box around everything that is not air; None where there is nothing else."""
    tissue = hu > _TISSUE_HU
    box: list[slice] = [slice(0, len(hu))]
    for other in ((0, 2), (0, 1)):
        occupied = np.flatnonzero(tissue.sum(axis=other) >= _BODY_VOXELS)
        if not occupied.size:
            return None
        box.append(slice(max(0, int(occupied[0]) - _MARGIN), int(occupied[-1]) + 1 + _MARGIN))
    return box[0], box[1], box[2]


def _leave_out_others(lung: npt.NDArray[np.float32], hu: npt.NDArray[np.float32], voxel_ml: float) -> None:
    """Rule out, in place, what hangs together with too little to be a lung, or is bare gas: bowel, airway, room."""
    pieces = cc3d.connected_components(lung > 0, connectivity=6)
    voxels = np.bincount(pieces.reshape(-1))
    voxels[0] = 0
    for label in np.flatnonzero(voxels):
        if float(np.percentile(hu[pieces == label], 25)) < _GAS_HU:
            lung[pieces == label] = -_FAR
            voxels[label] = 0
    small = (voxels < LEAST_SHARE * voxels.max(initial=0)) | (voxels * voxel_ml < LEAST_ML)
    small[0] = False
    lung[small[pieces]] = -_FAR


def _join_strays(lung: Mask, left: npt.NDArray[np.float32]) -> None:
    """Turn over, in place, what the network gives to one side though it hangs together with the other lung only."""
    for sign in (1.0, -1.0):
        pieces = cc3d.connected_components(lung & (left * sign > 0), connectivity=6)
        voxels = np.bincount(pieces.reshape(-1))
        voxels[0] = 0
        for label in np.flatnonzero((voxels > 0) & (voxels < _STRAY_SHARE * voxels.max(initial=0))):
            piece = pieces == label
            around = np.asarray(binary_dilation(piece), bool) & lung & ~piece
            if around.any() and np.all(left[around] * sign <= 0):
                left[piece] *= -1
