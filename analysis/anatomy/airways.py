"""Trachea and main bronchi: found from above as a round hole near the midline, followed down as bare gas."""

import math
from typing import NamedTuple

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.air import Grid, Mask

_TRACHEA_AREA_MM2 = (40.0, 900.0)
_MIDLINE_MM = 45.0
_ELONGATION = 3.0
_STEP_ASIDE_MM = 4.0
_LUNG_HU, _BARE_GAS_HU = -900.0, -930.0
_BARE_MIDLINE_MM = 25.0
_GAS_THRESHOLDS_HU = (-900.0, -920.0, -940.0, -955.0, -970.0, -985.0)
_MAXIMUM_ML = 110.0
_MAXIMUM_SLICE_MM2 = 2200.0
_REACH_MM = 65.0
_WALL_MM = 2.5
_MINIMUM_SEED_MM = 12.0


def find_airways(grid: Grid, air: Mask, body: Mask) -> Mask:
    """Mark trachea and main bronchi with their wall, (slice, row, column); nothing where no trachea is imaged.

    Gas that hangs together with the trachea is airway, at the loosest threshold at which it does not leak into lung.
    """
    nothing = np.zeros_like(air)
    seeds = _trachea(grid, air, body, _MIDLINE_MM)
    if seeds is None:
        # on coarse pixels the wall between trachea and lung is lost: what still stands out is gas without tissue
        seeds = _trachea(grid, air & (grid.hu < _BARE_GAS_HU), body, _BARE_MIDLINE_MM)
    if seeds is None:
        return nothing
    columns = np.nonzero(seeds)[2]
    centre = float(columns.mean())
    reach = round(_REACH_MM / grid.column_mm)
    low, high = max(0, int(centre) - reach), int(centre) + reach + 1
    window = (slice(None), slice(None), slice(low, high))
    grown = _grow(grid, window, seeds)
    result = nothing
    result[window] = grown
    result |= seeds
    return _with_wall(grid, result) & air


def _trachea(grid: Grid, air: Mask, body: Mask, aside_mm: float) -> Mask | None:
    """Mark the longest run of round holes of gas near the midline that follow one another; None when all are short.

    The base of a lung beside the heart is a round hole as well, but no gas: its least dense twentieth lies above -900.
    ``aside_mm`` is how far from the midline a hole may lie.
    """
    runs: list[list[_Hole]] = []
    for index in range(len(air) - 1, -1, -1):
        for hole in _round_holes(grid, air[index], body[index], index, aside_mm):
            reach_px = (_STEP_ASIDE_MM + grid.slice_mm / 2) / grid.pixel_mm
            home = min(
                (run for run in runs if run[-1].level == index + 1 and _apart(run[-1], hole) <= reach_px),
                key=lambda run: _apart(run[-1], hole),
                default=None,
            )
            if home is None:
                runs.append([hole])
            else:
                home.append(hole)
    runs = [run for run in runs if len(run) * grid.slice_mm >= _MINIMUM_SEED_MM]
    for run in sorted(runs, key=len, reverse=True):
        seeds = np.zeros_like(air)
        for hole in run:
            labels = cv2.connectedComponents(air[hole.level].astype(np.uint8), connectivity=4)[1]
            seeds[hole.level] = labels == hole.label
        if float(np.percentile(grid.hu[seeds], 5)) < _LUNG_HU:
            return seeds
    return None


class _Hole(NamedTuple):
    """A round piece of air in one slice: the slice, its label there, its centre in pixels."""

    level: int
    label: int
    column: float
    row: float


def _round_holes(
    grid: Grid, air: npt.NDArray[np.bool_], body: npt.NDArray[np.bool_], index: int, aside_mm: float
) -> list[_Hole]:
    columns = np.flatnonzero(body.any(axis=0))
    if not columns.size:
        return []
    midline, pixel_mm2 = (columns[0] + columns[-1]) / 2, grid.row_mm * grid.column_mm
    count, _, stats, centroids = cv2.connectedComponentsWithStats(air.astype(np.uint8), connectivity=4)
    holes: list[_Hole] = []
    for label in range(1, count):
        sides = (int(stats[label, cv2.CC_STAT_WIDTH]), int(stats[label, cv2.CC_STAT_HEIGHT]))
        area = stats[label, cv2.CC_STAT_AREA] * pixel_mm2
        if (
            _TRACHEA_AREA_MM2[0] <= area <= _TRACHEA_AREA_MM2[1]
            and max(sides) <= _ELONGATION * min(sides)
            and abs(centroids[label][0] - midline) * grid.column_mm <= aside_mm
        ):
            holes.append(_Hole(index, label, float(centroids[label][0]), float(centroids[label][1])))
    return holes


def _apart(one: _Hole, other: _Hole) -> float:
    return math.hypot(one.column - other.column, one.row - other.row)


def _grow(grid: Grid, window: tuple[slice, slice, slice], seeds: Mask) -> Mask:
    hu, start = grid.hu[window], seeds[window]
    pixel_mm2 = grid.row_mm * grid.column_mm
    lowest_ml = float(np.count_nonzero(start)) * grid.voxel_ml
    for threshold in _GAS_THRESHOLDS_HU:
        components = cc3d.connected_components((hu < threshold), connectivity=6)
        labels = np.unique(components[start & (hu < threshold)])
        labels = labels[labels > 0]
        grown = np.isin(components, labels) if labels.size else np.zeros_like(start)
        areas = grown.sum(axis=(1, 2)) * pixel_mm2
        if areas.sum() * grid.slice_mm / 1000 <= _MAXIMUM_ML + lowest_ml and areas.max() <= _MAXIMUM_SLICE_MM2:
            return grown
    return start


def _with_wall(grid: Grid, airways: Mask) -> Mask:
    """Widen by the wall, whose voxels are partly air."""
    radius = max(1, round(_WALL_MM / grid.pixel_mm))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    widened = airways.copy()
    for index in np.flatnonzero(airways.any(axis=(1, 2))):
        widened[index] = cv2.dilate(airways[index].astype(np.uint8), kernel) > 0
    return widened
