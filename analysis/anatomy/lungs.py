"""Lungs by classical means: air inside the body, less airways and bowel gas, closed over dense lung, split in two."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.air import Grid, body_air, keep_lung_components
from analysis.anatomy.airways import find_airways
from analysis.anatomy.pleura import close_pleura
from analysis.anatomy.sides import LEFT, RIGHT, split_sides
from analysis.series.volume import Volume

__all__ = ["LEFT", "RIGHT", "Lungs", "segment_lungs"]

Box = tuple[slice, slice, slice]

WORKING_SPACING_MM = 1.6
"""In-plane spacing of the grid on which lungs are searched: fine enough for pleura, coarse enough to be quick."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lungs:
    """Labels on the grid of a volume: uint8 (slice, row, column), 0 elsewhere, 1 right lung, 2 left lung."""

    labels: npt.NDArray[np.uint8]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Both lungs as bool (slice, row, column)."""
        return self.labels > 0

    @property
    def box(self) -> Box | None:
        """Smallest box that holds both lungs; None where there is no lung."""
        plane = self.labels.max(axis=0) > 0
        if not plane.any():
            return None
        slices = np.flatnonzero(self.labels.any(axis=(1, 2)))
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        return (
            slice(int(slices[0]), int(slices[-1]) + 1),
            slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1),
        )


def segment_lungs(volume: Volume, *, valid: npt.NDArray[np.bool_] | None = None) -> Lungs:
    """Find the lungs, dense parts at the pleura included, airways and bowel gas left out; empty where there are none.

    Works slice by slice at about 1.6 mm, so that lungs open to outside air in one slice, or cut off by the first or
    last, are found all the same. ``valid`` (slice, row, column) marks what was imaged at all, for images that were
    cropped; nothing is taken for air outside it. Time grows with the voxels (about 1 s for 128 slices of 512 x 512 on
    one core); memory with those of the working grid (about 12 bytes each).
    """
    factor = max(1, round(WORKING_SPACING_MM / max(volume.row_spacing_mm, volume.column_spacing_mm)))
    grid = Grid(
        hu=_reduce(volume.hu, valid, factor),
        slice_mm=volume.slice_spacing_mm,
        row_mm=volume.row_spacing_mm * factor,
        column_mm=volume.column_spacing_mm * factor,
    )
    air, body = body_air(grid)
    airways = find_airways(grid, air, body)
    components = keep_lung_components(grid, air & ~airways)
    sides = split_sides(grid, components, body)
    closed = close_pleura(grid, sides, airways, body)
    return Lungs(labels=_enlarge(closed, volume.hu.shape))


def _reduce(hu: npt.NDArray[np.int16], valid: npt.NDArray[np.bool_] | None, factor: int) -> npt.NDArray[np.float32]:
    """Average blocks of factor x factor pixels and smooth them a little; what is not valid becomes water."""
    count, rows, columns = hu.shape
    reduced = np.empty((count, -(-rows // factor), -(-columns // factor)), np.float32)
    for index in range(count):
        pixels = hu[index] if valid is None else np.where(valid[index], hu[index], np.int16(0))
        size = (reduced.shape[2], reduced.shape[1])
        small = pixels if factor == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        reduced[index] = cv2.GaussianBlur(small.astype(np.float32), (3, 3), 0.5)
    return reduced


def _enlarge(labels: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Bring labels back to the grid of the volume, with smooth borders."""
    count, rows, columns = shape
    if labels.shape == (count, rows, columns):
        return labels
    enlarged = np.zeros((count, rows, columns), np.uint8)
    for index in np.flatnonzero(labels.any(axis=(1, 2))):
        for label in (RIGHT, LEFT):
            share = np.where(labels[index] == label, np.uint8(255), np.uint8(0))
            whole = cv2.resize(share, (columns, rows), interpolation=cv2.INTER_LINEAR)
            enlarged[index][whole > 127] = label  # noqa: PLR2004 - half of 255
    return enlarged
