"""Right and left lung, also where they touch at the anterior junction."""

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.air import Grid, Mask

RIGHT, LEFT = 1, 2
"""Labels of the patient's right and left lung."""

_BOTH_SIDES_SHARE = 0.12
_CORE_SHARE = 0.2
_HALF = 0.5
_EROSIONS_MM = (1.5, 3.0, 4.5, 6.0, 8.0, 10.0, 13.0)

Labels = npt.NDArray[np.uint8]


def split_sides(grid: Grid, components: npt.NDArray[np.uint32], body: Mask) -> Labels:
    """Label pieces of lung right (1) or left (2) of the midline; a piece that spans both is cut where it is thinnest.

    Columns run from the patient's right to left.
    """
    sides = np.zeros(components.shape, np.uint8)
    if not components.any():
        return sides
    midline = _midline(grid, components, body)
    slices, rows, columns = np.nonzero(components)
    owner = components[slices, rows, columns]
    voxels = np.bincount(owner)
    right_share = np.bincount(owner, weights=columns < midline) / np.maximum(voxels, 1)
    spanning = [
        label
        for label in np.flatnonzero(voxels)
        if min(right_share[label], 1 - right_share[label]) > _BOTH_SIDES_SHARE and voxels[label] > 0.2 * len(owner)
    ]
    sides[slices, rows, columns] = _side_of(right_share)[owner]
    for label in spanning:
        piece = components == label
        sides[piece] = _cut(grid, piece, midline)[piece]
    return sides


def _side_of(right_share: npt.NDArray[np.float64]) -> Labels:
    """Side on which most of a piece lies."""
    return np.where(right_share >= _HALF, RIGHT, LEFT).astype(np.uint8)


def _midline(grid: Grid, components: npt.NDArray[np.uint32], body: Mask) -> float:
    """Column of the midline: where least lung lies, within 40 mm of the body's middle."""
    occupied = np.flatnonzero((components > 0).any(axis=(1, 2)))
    columns = np.flatnonzero(body[occupied].any(axis=(0, 1)))
    middle = (columns[0] + columns[-1]) / 2
    profile = (components > 0).sum(axis=(0, 1)).astype(np.float64)
    near = round(40.0 / grid.column_mm)
    low, high = max(0, int(middle) - near), min(len(profile), int(middle) + near + 1)
    smooth = np.convolve(profile, np.ones(5) / 5, mode="same")[low:high]
    least = np.flatnonzero(smooth <= smooth.min() + 0.02 * profile.max())
    return float(low + least.mean())


def _cut(grid: Grid, piece: Mask, midline: float) -> Labels:
    """Cut one piece in two: erode it until it falls apart, then give each voxel to the nearer core."""
    depth = np.zeros(piece.shape, np.float32)
    for index in np.flatnonzero(piece.any(axis=(1, 2))):
        depth[index] = cv2.distanceTransform(piece[index].astype(np.uint8), cv2.DIST_L2, 3) * grid.pixel_mm
    # every other row and column tell as well where a lung falls apart, in a quarter of the time
    coarse = np.ascontiguousarray(depth[:, ::2, ::2])
    for radius in _EROSIONS_MM:
        cores = cc3d.connected_components(coarse > radius, connectivity=6)
        slices, rows, columns = np.nonzero(cores)
        owner = cores[slices, rows, columns]
        voxels = np.bincount(owner)
        right = np.bincount(owner, weights=2 * columns < midline) / np.maximum(voxels, 1)
        large = voxels > _CORE_SHARE * voxels.max(initial=0)
        mixed = large & (np.minimum(right, 1 - right) > _BOTH_SIDES_SHARE)
        if np.count_nonzero(large) > 1 and not mixed.any():
            markers = np.zeros(piece.shape, np.uint8)
            markers[slices, 2 * rows, 2 * columns] = _side_of(right)[owner]
            return _nearest(piece, markers, midline)
    return np.where(piece, np.where(np.arange(piece.shape[2]) < midline, RIGHT, LEFT), 0).astype(np.uint8)


def _nearest(piece: Mask, markers: Labels, midline: float) -> Labels:
    """Give every voxel to the nearer marker of its slice; where a side has none, to its side of the midline."""
    result = np.zeros(piece.shape, np.uint8)
    for index in np.flatnonzero(piece.any(axis=(1, 2))):
        distances = [
            cv2.distanceTransform((markers[index] != side).astype(np.uint8), cv2.DIST_L2, 3)
            if (markers[index] == side).any()
            else None
            for side in (RIGHT, LEFT)
        ]
        right, left = distances
        if right is not None and left is not None:
            sides = np.where(right <= left, RIGHT, LEFT)
        else:
            sides = np.where(np.arange(piece.shape[2]) < midline, RIGHT, LEFT)
        result[index] = np.where(piece[index], sides, 0)
    return result
