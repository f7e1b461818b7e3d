"""From the grid of a volume to an even grid of some millimetres, and back."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoarseGrid:
    """An even grid laid over slices of ``rows`` x ``columns`` pixels, from feet to head.

    ``levels_mm`` are the positions of its levels, ``shape`` the rows and columns that a slice has on it. All of a slice
    is covered, so that the grid's spacing within a slice is that asked for to within one part in a hundred or so.
    """

    levels_mm: npt.NDArray[np.float64]
    positions_mm: npt.NDArray[np.float64]
    rows: int
    columns: int
    shape: tuple[int, int]

    @classmethod
    def over(
        cls,
        positions_mm: npt.NDArray[np.float64],
        plane: tuple[int, int],
        pixel_mm: tuple[float, float],
        grid_mm: float,
    ) -> "CoarseGrid":
        """Lay a grid of this spacing over slices at these positions."""
        low, high = float(positions_mm[0]), float(positions_mm[-1])
        count = max(1, round((high - low) / grid_mm) + 1)
        middle = (low + high) / 2
        levels = np.asarray(middle + (np.arange(count) - (count - 1) / 2) * grid_mm, np.float64)
        shape = tuple(max(1, round(side * spacing / grid_mm)) for side, spacing in zip(plane, pixel_mm, strict=True))
        return cls(
            levels_mm=levels, positions_mm=positions_mm, rows=plane[0], columns=plane[1], shape=(shape[0], shape[1])
        )

    def gather(self, planes: Iterable[npt.NDArray[np.float32] | npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Average slices, each (row, column), onto the grid, (level, row, column).

        A level takes the slices around it by a triangle as wide as the grid or the slices are apart.
        """
        small = np.empty((len(self.positions_mm), *self.shape), np.float32)
        for index, plane in enumerate(planes):
            small[index] = cv2.resize(plane, self.shape[::-1], interpolation=cv2.INTER_AREA)
        return np.tensordot(self._weights(), small, axes=1)

    def level(self, values: npt.NDArray[np.float32], index: int) -> Plane:
        """The grid's values (level, row, column) at the height of a slice, interpolated between levels."""
        place = float(np.interp(self.positions_mm[index], self.levels_mm, np.arange(len(self.levels_mm))))
        lower = min(int(place), max(0, len(values) - 2))
        upper = min(lower + 1, len(values) - 1)
        share = np.float32(place - lower)
        return values[lower] * (1 - share) + values[upper] * share

    def enlarged(self, plane: Plane, box: tuple[slice, slice] | None = None) -> Plane:
        """A plane of the grid on the pixels of a slice (of a box of it), interpolated."""
        rows, columns = box or (slice(0, self.rows), slice(0, self.columns))
        along, across = self.shape[0] / self.rows, self.shape[1] / self.columns
        matrix = np.asarray(
            [
                [across, 0, (columns.start + 0.5) * across - 0.5],
                [0, along, (rows.start + 0.5) * along - 0.5],
            ],
            np.float64,
        )
        size = (columns.stop - columns.start, rows.stop - rows.start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)

    def _weights(self) -> npt.NDArray[np.float32]:
        apart = float(np.median(np.diff(self.positions_mm))) if len(self.positions_mm) > 1 else 1.0
        grid = float(self.levels_mm[1] - self.levels_mm[0]) if len(self.levels_mm) > 1 else apart
        distance = np.abs(self.levels_mm[:, None] - self.positions_mm[None])
        nearest = distance == distance.min(axis=1, keepdims=True)
        weights = np.maximum(np.maximum(0.0, 1 - distance / max(grid, apart)), np.where(nearest, 1e-3, 0.0))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
