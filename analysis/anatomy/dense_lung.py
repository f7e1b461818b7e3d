"""Lung without air: consolidation, atelectasis, effusion beside the lung, a large mass."""

import cc3d
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from analysis.anatomy.coarse import CoarseGrid
from analysis.series.volume import Volume

_GRID_MM = 3.0
_DENSE_HU, _ENHANCED_HU = -150.0, 130.0
"""Between these lie fluid and airless lung; above the second enhanced vessels and bone."""

_CORE_MM = 8.0
"""How deep dense lung lies at its thickest: vessels of the hilum and the blur of a border are thinner than that."""

_REACH_MM = 9.0
_RIM_HU = -350.0
_LEAST_ML, _GOES_ON_ML = 4.0, 40.0
_HALF = 127.5

Mask = npt.NDArray[np.bool_]


def dense_lung(volume: Volume, lung: Mask, *, perhaps: Mask | None = None) -> Mask:
    """Where ``lung``, bool (slice, row, column), is as dense as soft tissue and at least 16 mm thick in all directions.

    Density and place in the lung alone settle it, so that it is found also where nothing like it was in a network's
    training: a lobe without air, or a chest full of fluid. Such a block of 40 mL and more goes on into what is
    ``perhaps`` lung and as dense.
    """
    found = np.zeros(lung.shape, bool)
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    if not slices.size:
        return found
    grid = CoarseGrid.over(
        volume.slice_positions_mm,
        (lung.shape[1], lung.shape[2]),
        (volume.row_spacing_mm, volume.column_spacing_mm),
        _GRID_MM,
    )
    hu = grid.gather(plane.astype(np.float32) for plane in volume.hu)
    blocks = _blocks(hu, grid.gather(plane * np.uint8(255) for plane in lung) > _HALF)
    if not blocks.any():
        return found
    if perhaps is not None:
        lung = lung | perhaps
        blocks |= _held(_blocks(hu, grid.gather(plane * np.uint8(255) for plane in lung) > _HALF), blocks)
        slices = np.flatnonzero(lung.any(axis=(1, 2)))
    share = blocks.astype(np.float32)
    for index in slices.tolist():
        plane = grid.level(share, index)
        if plane.any():
            found[index] = (grid.enlarged(plane) > 0.5) & lung[index]
    return found


def _blocks(hu: npt.NDArray[np.float32], lung: Mask) -> Mask:
    tissue = lung & (hu < _ENHANCED_HU)
    return _thick(tissue & (hu > _DENSE_HU), tissue & (hu > _RIM_HU))


def _held(wide: Mask, sure: Mask) -> Mask:
    """The pieces of the wide mask that hold enough of the sure one."""
    pieces = cc3d.connected_components(wide, connectivity=6)
    held = np.bincount(pieces[sure], minlength=int(pieces.max()) + 1) * _GRID_MM**3 / 1000 >= _GOES_ON_ML
    held[0] = False
    return held[pieces]


def _thick(solid: Mask, around: Mask) -> Mask:
    """What of the solid is thick somewhere, out to its rim; beyond the first and last level there is none."""
    if not solid.any():
        return solid
    depth = np.asarray(distance_transform_edt(np.pad(solid, 1), sampling=_GRID_MM))[1:-1, 1:-1, 1:-1]
    core = depth >= _CORE_MM
    if not core.any():
        return core
    far = np.asarray(distance_transform_edt(~core, sampling=_GRID_MM))
    blocks = around & (far <= _REACH_MM)
    pieces = cc3d.connected_components(blocks, connectivity=6)
    voxels = np.bincount(pieces.reshape(-1))
    small = voxels * _GRID_MM**3 / 1000 < _LEAST_ML
    small[0] = True
    return blocks & ~small[pieces]
