"""Lungs by classical means: air inside the body, less airways and bowel gas, closed over dense lung, split in two.

The cross-check of the network, and what stands in for it where it fails. Where the body ends and the airways run it
settles for both.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.air import Grid, Mask, body_air, keep_lung_components
from analysis.anatomy.airways import find_airways
from analysis.anatomy.pleura import close_pleura
from analysis.anatomy.sides import Labels, split_sides

SPACING_MM = 3.0
"""Spacing of the grid of the classical method: fine enough to find lungs, coarse enough to cost next to nothing."""

_TISSUE_HU = 40.0
_GAS_HU = _ROOM_AIR_HU = -950.0
_RING = 3
"""Pixels that a closed border is thick: as many as the opening of the tissue needs to keep it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassicalLungs:
    """Right (1) and left (2) lung, uint8 (slice, row, column), and bool masks of the filled body and of bare gas in it.

    ``gas`` is that of airways and bowel, which no lung holds. All lie on a grid of about 3 mm, which holds the slices
    ``indices`` of the volume.
    """

    labels: Labels
    body: Mask
    gas: Mask
    indices: npt.NDArray[np.intp]


def classical_lungs(grid: Grid) -> ClassicalLungs:
    """Find the lungs on a coarser grid than the one given; all 0 where there are none.

    Works slice by slice, so that lungs open to outside air in one slice, or cut off by the first or last, are found all
    the same.
    """
    coarse, indices = _coarser(grid)
    air, body = body_air(coarse)
    airways = find_airways(coarse, air, body)
    components = keep_lung_components(coarse, air & ~airways)
    sides = split_sides(coarse, components, body)
    labels = close_pleura(coarse, sides, airways, body)
    gas = airways | (air & (labels == 0) & (components == 0) & (coarse.hu < _GAS_HU))
    return ClassicalLungs(labels=labels, body=body, gas=gas, indices=indices)


def _coarser(grid: Grid) -> tuple[Grid, npt.NDArray[np.intp]]:
    """The grid of the classical method, and which slices of the working grid it holds."""
    step = max(1, round(SPACING_MM / grid.slice_mm))
    factor = max(1, round(SPACING_MM / grid.pixel_mm))
    indices = np.arange((len(grid.hu) - 1) % step // 2, len(grid.hu), step)
    rows, columns = (-(-side // factor) for side in grid.hu.shape[1:])
    hu = np.stack([cv2.resize(grid.hu[k], (columns, rows), interpolation=cv2.INTER_AREA) for k in indices])
    _close_border(hu)
    along, across = grid.hu.shape[1] / rows, grid.hu.shape[2] / columns
    return (
        Grid(hu=hu, slice_mm=grid.slice_mm * step, row_mm=grid.row_mm * along, column_mm=grid.column_mm * across),
        indices,
    )


def _close_border(hu: npt.NDArray[np.float32]) -> None:
    """Make tissue, in place, of what touches the border of the image and is no room air: lung that it cuts off."""
    for strip in (hu[:, :_RING], hu[:, -_RING:], hu[:, :, :_RING], hu[:, :, -_RING:]):
        strip[strip > _ROOM_AIR_HU] = _TISSUE_HU
