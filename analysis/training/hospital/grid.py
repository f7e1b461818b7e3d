"""Where the voxels of a series lie in the patient, and how an array on another order of axes is laid onto them.

Positions are in mm, LPS (DICOM's axes: to the left, to the back, to the head).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.series import Series, Volume
from analysis.series.acquisitions import slices_of
from analysis.series.geometry import stack

Vector = npt.NDArray[np.float64]

_TOLERANCE = 0.1
"""In voxels: farther off, a mask is on another grid. Affines are often stored as float32."""


class OtherGrid(ValueError):
    """The array does not lie on the series' own voxels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The canonical axes of a volume: ``origins_mm`` (slice, 3) of voxel (0, 0), steps along rows and columns."""

    shape: tuple[int, int, int]
    origins_mm: Vector
    row_step_mm: Vector
    column_step_mm: Vector

    @classmethod
    def of(cls, series: Series, volume: Volume) -> "Grid":
        """The grid of an assembled series."""
        whole = stack(slices_of(series).planes)
        if whole is None:
            raise OtherGrid("the series has no slices")
        first = whole.planes[0]
        between_rows, between_columns = first.spacing_mm
        down = np.asarray(first.column_cosines) * between_rows
        across = np.asarray(first.row_cosines) * between_columns
        native = volume.native
        row_step, column_step = (across, down) if native.transposed else (down, across)
        origins = np.asarray([plane.position_mm for plane in whole.planes], np.float64)
        rows, columns = volume.hu.shape[1:]
        if native.rows_flipped:
            origins, row_step = origins + row_step * (rows - 1), -row_step
        if native.columns_flipped:
            origins, column_step = origins + column_step * (columns - 1), -column_step
        return cls(
            shape=(len(origins), rows, columns), origins_mm=origins, row_step_mm=row_step, column_step_mm=column_step
        )

    def slice_at(self, position_mm: Vector) -> int:
        """The slice in whose plane a position lies.

        Raises:
            OtherGrid: it lies between slices, or beyond them.
        """
        normal = np.cross(self.row_step_mm, self.column_step_mm)
        normal /= np.linalg.norm(normal)
        distances = np.abs((self.origins_mm - position_mm) @ normal)
        nearest = int(np.argmin(distances))
        if distances[nearest] > _TOLERANCE * self._slice_step_mm(normal):
            raise OtherGrid(f"it lies {distances[nearest]:.2f} mm off the nearest slice")
        return nearest

    def oriented(
        self, frame: npt.NDArray[np.bool_], k: int, origin_mm: Vector, row_step_mm: Vector, column_step_mm: Vector
    ) -> npt.NDArray[np.bool_]:
        """A frame (row, column), whose pixel (0, 0) lies at ``origin_mm``, on rows and columns of slice ``k``.

        Raises:
            OtherGrid: its pixels are not those of the slice.
        """
        rows, columns = frame.shape
        corner = self._in_plane(k, origin_mm)
        far_row = self._in_plane(k, origin_mm + row_step_mm * (rows - 1)) - corner
        far_column = self._in_plane(k, origin_mm + column_step_mm * (columns - 1)) - corner
        if abs(far_row[0]) < abs(far_row[1]):
            frame, far_row, far_column = frame.T, far_column, far_row
        starts, ends = corner, corner + far_row + far_column
        last = np.asarray(self.shape[1:]) - 1.0
        forward = np.abs(starts) < _TOLERANCE
        expected_ends = np.where(forward, last, 0.0)
        expected_starts = last - expected_ends
        straight = max(abs(far_row[1]), abs(far_column[0])) < _TOLERANCE
        if (
            not straight
            or frame.shape != self.shape[1:]
            or np.abs(starts - expected_starts).max() > _TOLERANCE
            or np.abs(ends - expected_ends).max() > _TOLERANCE
        ):
            raise OtherGrid(
                f"its {rows}x{columns} pixels are not the {self.shape[1]}x{self.shape[2]} of the slice: resample it"
            )
        return frame[:: 1 if forward[0] else -1, :: 1 if forward[1] else -1]

    def turned(self, values: npt.NDArray[np.bool_], to_lps_mm: Vector) -> npt.NDArray[np.bool_]:
        """A volume, whose index is put to LPS by a 4x4 matrix, on (slice, row, column) of the series.

        Raises:
            OtherGrid: its voxels are not those of the series.
        """
        corners = self._corners()
        indices = np.linalg.solve(to_lps_mm, np.c_[corners, np.ones(len(corners))].T).T[:, :3]
        along = indices[1:] - indices[0]
        axes = np.argmax(np.abs(along), axis=1)
        if len(set(axes.tolist())) != len(self.shape):
            raise OtherGrid("its axes are oblique to those of the series: resample it")
        last = np.asarray(values.shape, np.float64) - 1.0
        forward = along[np.arange(3), axes] > 0
        expected = np.zeros((4, 3))
        for axis, ahead in zip(axes, forward, strict=True):
            expected[0, axis] = 0.0 if ahead else last[axis]
        for number, (axis, ahead) in enumerate(zip(axes, forward, strict=True), start=1):
            expected[number] = expected[0]
            expected[number, axis] = last[axis] if ahead else 0.0
        found = values.transpose(axes)
        if found.shape != self.shape or np.abs(indices - expected).max() > _TOLERANCE:
            told = "x".join(str(side) for side in values.shape)
            own = "x".join(str(side) for side in self.shape)
            raise OtherGrid(f"its {told} voxels are not the {own} (slice, row, column) of the series: resample it")
        return found[tuple(slice(None, None, 1 if ahead else -1) for ahead in forward)]

    def _corners(self) -> Vector:
        """The first voxel, and the last along slices, rows and columns; steps between slices must be even."""
        steps = np.diff(self.origins_mm, axis=0)
        if len(steps) and np.abs(steps - steps.mean(axis=0)).max() > _TOLERANCE * np.linalg.norm(steps.mean(axis=0)):
            raise OtherGrid("the slices of the series are not evenly spaced, which NIfTI cannot express: use DICOM SEG")
        first = self.origins_mm[0]
        rows, columns = self.row_step_mm * (self.shape[1] - 1), self.column_step_mm * (self.shape[2] - 1)
        return np.stack([first, self.origins_mm[-1], first + rows, first + columns])

    def _in_plane(self, k: int, position_mm: Vector) -> Vector:
        """Row and column, in voxels, of a position in slice ``k``."""
        offset = position_mm - self.origins_mm[k]
        steps = (self.row_step_mm, self.column_step_mm)
        return np.asarray([float(offset @ step) / float(step @ step) for step in steps])

    def _slice_step_mm(self, normal: Vector) -> float:
        distances = np.abs(np.diff(self.origins_mm @ normal))
        return float(np.median(distances)) if len(distances) else 1.0
