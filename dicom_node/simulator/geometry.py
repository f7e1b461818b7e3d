"""Shapes on a grid in millimetres: what the phantom's anatomy is drawn with.

Axes are the patient's: x grows to the patient's left, y to the back, z to the head; the origin lies on the midline.
A signed distance is in millimetres, negative inside. Volumes are (slice, row, column), feet to head, front to back,
right to left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Point = tuple[float, float, float]
_FAR_MM = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the centres of the voxels lie, in millimetres."""

    x_mm: Floats
    y_mm: Floats
    z_mm: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of slices, of rows and of columns."""
        return tuple(float(axis[1] - axis[0]) for axis in (self.z_mm, self.y_mm, self.x_mm))  # pyright: ignore[reportReturnType]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel."""
        slice_mm, row_mm, column_mm = self.spacing_mm
        return slice_mm * row_mm * column_mm / 1000.0

    def planes(self) -> tuple[Floats, Floats]:
        """The x and y of every pixel of a slice, each (row, column)."""
        x, y = np.meshgrid(self.x_mm, self.y_mm)
        return x, y

    def box(self, low: Point, high: Point) -> tuple[slice, slice, slice]:
        """The part of the grid between two corners (x, y, z), as (slice, row, column) ranges."""
        ranges = [
            slice(int(np.searchsorted(axis, low[i])), int(np.searchsorted(axis, high[i], side="right")))
            for i, axis in ((2, self.z_mm), (1, self.y_mm), (0, self.x_mm))
        ]
        return ranges[0], ranges[1], ranges[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """A round tube from one point to another, its radius changing evenly."""

    start: Point
    end: Point
    start_radius_mm: float
    end_radius_mm: float


def chain(points: Sequence[Point], radii_mm: Sequence[float]) -> list[Tube]:
    """Tubes that join the points one after another."""
    return [
        Tube(start=points[i], end=points[i + 1], start_radius_mm=radii_mm[i], end_radius_mm=radii_mm[i + 1])
        for i in range(len(points) - 1)
    ]


def tube_distance(grid: Grid, tube: Tube, margin_mm: float) -> tuple[tuple[slice, slice, slice], Floats] | None:
    """The signed distance to a tube, in the box around it; None where the box misses the grid."""
    reach = max(tube.start_radius_mm, tube.end_radius_mm) + margin_mm
    low = tuple(min(a, b) - reach for a, b in zip(tube.start, tube.end, strict=True))
    high = tuple(max(a, b) + reach for a, b in zip(tube.start, tube.end, strict=True))
    box = grid.box(cast("Point", low), cast("Point", high))
    if any(part.start >= part.stop for part in box):
        return None
    along = np.subtract(tube.end, tube.start, dtype=np.float32)
    length_squared = max(float(along @ along), 1e-6)
    dz = grid.z_mm[box[0], None, None] - np.float32(tube.start[2])
    dy = grid.y_mm[None, box[1], None] - np.float32(tube.start[1])
    dx = grid.x_mm[None, None, box[2]] - np.float32(tube.start[0])
    share = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / length_squared, 0, 1)
    distance = np.sqrt((dx - share * along[0]) ** 2 + (dy - share * along[1]) ** 2 + (dz - share * along[2]) ** 2)
    radius = tube.start_radius_mm + share * (tube.end_radius_mm - tube.start_radius_mm)
    return box, (distance - radius).astype(np.float32)


def superellipse(x: Floats, y: Floats, *, half_width: Floats | float, half_height: float, power: float) -> Floats:
    """Approximate signed distance to |x/a|^p + |y/b|^p = 1, measured along the ray from the centre."""
    level = (np.abs(x / half_width) ** power + np.abs(y / half_height) ** power) ** (1.0 / power)
    radius = np.hypot(x, y)
    return (radius * (1.0 - 1.0 / np.maximum(level, 1e-3))).astype(np.float32)


def ellipsoid(grid: Grid, centre: Point, radii_mm: Point, turn_degrees: float = 0.0) -> Floats:
    """Approximate signed distance to an ellipsoid turned about the body's long axis, (slice, row, column).

    Farther away than 12 mm it says 12 mm.
    """
    turn = float(np.deg2rad(turn_degrees))
    reach = max(radii_mm) + _FAR_MM
    low, high = tuple(c - reach for c in centre), tuple(c + reach for c in centre)
    slices, rows, columns = grid.box(cast("Point", low), cast("Point", high))
    x = grid.x_mm[None, None, columns] - centre[0]
    y = grid.y_mm[None, rows, None] - centre[1]
    z = grid.z_mm[slices, None, None] - centre[2]
    along, across = x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn)
    level = np.sqrt((along / radii_mm[0]) ** 2 + (across / radii_mm[1]) ** 2 + (z / radii_mm[2]) ** 2)
    distance = np.full(grid.shape, _FAR_MM, np.float32)
    distance[slices, rows, columns] = np.minimum((level - 1.0) * min(radii_mm), _FAR_MM)
    return distance


def capsule(x: Floats, y: Floats, start: tuple[float, float], end: tuple[float, float], radius_mm: float) -> Floats:
    """Signed distance in a slice to the line from start to end, thickened by the radius."""
    along = (end[0] - start[0], end[1] - start[1])
    length_squared = max(along[0] ** 2 + along[1] ** 2, 1e-6)
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length_squared, 0, 1)
    return (
        np.sqrt((x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2) - radius_mm
    ).astype(np.float32)


def coverage(distance: Floats, pixel_mm: float) -> Floats:
    """The share of a voxel that lies inside: one inside, zero outside, in between across one pixel."""
    return np.clip(0.5 - distance / pixel_mm, 0.0, 1.0).astype(np.float32)


def paint(hu: Floats, distance: Floats, value: Floats | float, pixel_mm: float) -> None:
    """Draw a shape over what is there, in place, with partial volume at its edge."""
    touched = distance < 0.5 * pixel_mm
    count = int(np.count_nonzero(touched))
    if count == 0:
        return
    if 4 * count < touched.size:  # a small shape: only its own voxels
        there = hu[touched]
        drawn = value[touched] if isinstance(value, np.ndarray) else value
        hu[touched] = there + coverage(distance[touched], pixel_mm) * (drawn - there)
    else:
        hu += coverage(distance, pixel_mm) * (value - hu)
