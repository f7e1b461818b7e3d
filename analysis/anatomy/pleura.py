"""From aerated lung to whole lung: vessels filled, consolidation and effusion at the pleura taken in."""

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.air import Grid, Mask, fill_holes
from analysis.anatomy.sides import LEFT, RIGHT, Labels

CLOSING_MM = 12.0
_DENSEST_LESION_HU = 150.0
"""Consolidation and effusion lie under this; bone and enhanced vessels above it are not taken in."""
_MINIMUM_AREA_MM2 = 150.0
_SOFT_OPACITY_HU = -180.0
"""Ground glass lies under this, the fat of the chest wall (about -100 HU) above it."""
_SOFT_OPACITY_REACH_MM = 20.0
_BORDER_BLUR_MM = 4.5
_VESSEL_MM2 = 100.0
_ALONG_BODY_MM, _ALONG_BACK_MM, _ALONG_WALL_MM = 20.0, 60.0, 50.0
_BEHIND_MM = 20.0
_SECTORS = 360
_LEAST_SINK_MM, _DEEPEST_SINK_MM = 2.5, 20.0
_LUNG_BELOW_SHARE = 0.6
_OUTER_FROM = 0.2
"""A dent is costal when both its ends lie further out than this share of the lung's width."""
_LEAST_DENT_MM, _DEEPEST_DENT_MM = 1.0, 40.0
_DEPTH_UNIT = 256.0
"""OpenCV gives the depth of a convexity defect in 256ths of a pixel."""


def close_pleura(grid: Grid, sides: Labels, airways: Mask, body: Mask) -> Labels:
    """Close each lung slice by slice over 12 mm, and out to its convex costal border; the labels do not overlap.

    The costal face of a lung is convex in an axial slice, its mediastinal and diaphragmatic faces are not. So what lies
    between a lung and its convex hull to the side and behind is dense lung or effusion; elsewhere it is heart or liver.
    """
    result = sides.copy()
    centre = _middle(sides)
    for index in np.flatnonzero(sides.any(axis=(1, 2))):
        soft = (grid.hu[index] < _SOFT_OPACITY_HU) & body[index] & ~airways[index]
        for label in (RIGHT, LEFT):
            lung = (sides[index] == label).astype(np.uint8)
            if not lung.any():
                continue
            lung = _take_in_soft_opacity(grid, lung, soft & (sides[index] == 0))
            below = (result[index - 1] == label) if index else np.zeros(lung.shape, bool)
            wider = _fill_enclosed(grid, _close(grid, lung) | _costal_fill(grid, lung, label, centre), below)
            added = (wider > 0) & (sides[index] == 0) & (grid.hu[index] < _DENSEST_LESION_HU)
            added &= body[index] & ~airways[index]
            plane = result[index]
            plane[added & (plane == 0)] = label
    addable = (grid.hu < _DENSEST_LESION_HU) & body & ~airways
    result = _close_costal_wall(grid, result, addable, centre)
    return _close_along_body(grid, result, addable, centre)


def _close_along_body(grid: Grid, sides: Labels, addable: Mask, centre: tuple[float, float]) -> Labels:
    """Take for lung what has the same lung above and below it, no further apart than 20 mm, behind 60 mm.

    Behind the middle of the chest spine, aorta and oesophagus run along the body, so that what comes and goes there is
    opacity; further in front vessels of the hilum come and go as well.
    """
    result = sides.copy()
    reach = np.full((sides.shape[1], 1), _ALONG_BODY_MM, np.float32)
    reach[int(centre[0] + _BEHIND_MM / grid.row_mm) :] = _ALONG_BACK_MM
    farthest = np.full(sides.shape[1:], 10_000, np.int16)
    for label in (RIGHT, LEFT):
        above = np.empty(sides.shape, np.int16)
        gap = farthest.copy()
        for index in range(len(sides) - 1, -1, -1):
            gap = np.where(sides[index] == label, 0, np.minimum(gap + 1, 10_000)).astype(np.int16)
            above[index] = gap
        gap = farthest.copy()
        for index in range(len(sides)):
            gap = np.where(sides[index] == label, 0, np.minimum(gap + 1, 10_000)).astype(np.int16)
            near = (gap + above[index]) * np.float32(grid.slice_mm) <= reach
            result[index][near & addable[index] & (result[index] == 0)] = label
    return result


def _close_costal_wall(grid: Grid, sides: Labels, addable: Mask, centre: tuple[float, float]) -> Labels:
    """Take for lung what lies inside the chest wall as the slices above and below, up to 60 mm apart, show it.

    The wall is where a lung ends, seen from the middle of the chest; along the body the chest is convex, so that
    between two levels it lies no further in than at the nearer one.
    """
    result = sides.copy()
    rows = (np.arange(sides.shape[1], dtype=np.float32) - centre[0]) * grid.row_mm
    columns = (np.arange(sides.shape[2], dtype=np.float32) - centre[1]) * grid.column_mm
    radius = np.hypot(rows[:, None], columns[None, :])
    angle = np.arctan2(rows[:, None], columns[None, :])
    sector = ((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(np.int32) % _SECTORS
    width = 2 * max(1, round(_ALONG_WALL_MM / 2 / grid.slice_mm)) + 1
    for label in (RIGHT, LEFT):
        wall = np.zeros((len(sides), _SECTORS), np.float32)
        for index in np.flatnonzero((sides == label).any(axis=(1, 2))):
            lung = sides[index] == label
            np.maximum.at(wall[index], sector[lung], radius[lung])
        # beyond the first and the last slice nothing is known to be lung, or the ends would grow
        padded = np.pad(wall, ((width, width), (0, 0)))
        closing = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((width, 1), np.uint8))
        closed = np.asarray(closing, np.float32)[width:-width]
        for index in np.flatnonzero(np.max(closed - wall, axis=1) > _LEAST_SINK_MM):
            dent = closed[index] - wall[index]
            raised = np.where(
                (wall[index] > 0) & (dent > _LEAST_SINK_MM) & (dent <= _DEEPEST_SINK_MM), closed[index], 0
            )
            inside = (radius <= raised[sector]) & (radius > wall[index][sector]) & addable[index]
            result[index][inside & (result[index] == 0)] = label
    return result


def _fill_enclosed(grid: Grid, lung: npt.NDArray[np.uint8], below: Mask) -> npt.NDArray[np.uint8]:
    """Fill what the lung encloses, but for a dome of the diaphragm: a hole of more than 1 cm2 that goes on below."""
    holes = fill_holes(lung) & (1 - lung)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=4)
    filled = lung.copy()
    for label in range(1, count):
        hole = labels == label
        area_mm2 = stats[label, cv2.CC_STAT_AREA] * grid.row_mm * grid.column_mm
        if area_mm2 <= _VESSEL_MM2 or float(np.mean(below[hole])) > _LUNG_BELOW_SHARE:
            filled[hole] = 1
    return filled


def _take_in_soft_opacity(grid: Grid, lung: npt.NDArray[np.uint8], soft: Mask) -> npt.NDArray[np.uint8]:
    """Add ground glass that touches the lung: less dense than fat, and thicker than the blur of a border."""
    width = 2 * max(1, round(_BORDER_BLUR_MM / 2 / grid.pixel_mm)) + 1
    whole = lung | soft.astype(np.uint8)
    opened = np.asarray(cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((width, width), np.uint8)), np.uint8) | lung
    _, labels = cv2.connectedComponents(opened, connectivity=4)
    near = cv2.distanceTransform(1 - lung, cv2.DIST_L2, 3) * grid.pixel_mm <= _SOFT_OPACITY_REACH_MM
    around = np.ones((3, 3), np.uint8)
    rim = np.asarray(cv2.dilate(lung, around), np.uint8) & (1 - lung)
    # the outermost pixel all along the lung is its border, blurred; only what reaches further is opacity
    further = opened & (1 - lung) & (1 - rim)
    thick = np.asarray(cv2.dilate(further, around), np.uint8) & opened
    touching = np.isin(labels, np.unique(labels[lung > 0]))
    return lung | (thick & near & touching).astype(np.uint8)


def _close(grid: Grid, lung: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Morphological closing by distances, which costs the same for any radius."""
    radius = CLOSING_MM / grid.pixel_mm
    margin = int(radius) + 2
    rows, columns = np.flatnonzero(lung.any(axis=1)), np.flatnonzero(lung.any(axis=0))
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    padded = cv2.copyMakeBorder(lung[box], margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    dilated = (cv2.distanceTransform(1 - padded, cv2.DIST_L2, 5) <= radius).astype(np.uint8)
    closed = cv2.distanceTransform(dilated, cv2.DIST_L2, 5) > radius
    result = lung.copy()
    result[box] |= closed[margin:-margin, margin:-margin].astype(np.uint8)
    return result


def _middle(sides: Labels) -> tuple[float, float]:
    """Middle of the box of both lungs, (row, column)."""
    plane = np.asarray(sides.max(axis=0) > 0)
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return 0.0, 0.0
    return float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2


def _costal_fill(
    grid: Grid, lung: npt.NDArray[np.uint8], label: int, centre: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Fill the dents of the costal face: gaps whose two ends both lie on the outer side, out to the chest's curve.

    Between the ends the wall is taken to run at a distance from the middle of the chest that changes evenly with the
    angle, as on a circle about it; a straight line would leave out a sickle of lung. The gap over heart or spine has
    its ends on the inner side, that over the dome of the diaphragm one end there.
    """
    filled = lung.copy()
    contours, _ = cv2.findContours(lung, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if cv2.contourArea(contour) * grid.row_mm * grid.column_mm < _MINIMUM_AREA_MM2:
            continue
        points = contour[:, 0, :]
        hull = np.sort(cv2.convexHull(contour, returnPoints=False), axis=0)
        defects = cv2.convexityDefects(contour, hull) if len(hull) > 3 else None
        if defects is None:
            continue
        left, right = int(points[:, 0].min()), int(points[:, 0].max())
        for start, end, _, depth in defects.reshape(-1, 4):
            inner = [
                (points[tip, 0] - left if label == LEFT else right - points[tip, 0]) / max(1, right - left)
                for tip in (start, end)
            ]
            depth_mm = depth / _DEPTH_UNIT * grid.pixel_mm
            if min(inner) >= _OUTER_FROM and _LEAST_DENT_MM <= depth_mm <= _DEEPEST_DENT_MM:
                stretch = (
                    contour[start : end + 1] if start < end else np.concatenate([contour[start:], contour[: end + 1]])
                )
                wall = _arc(contour[end, 0], contour[start, 0], centre)
                cv2.drawContours(filled, [np.concatenate([stretch, wall[:, None, :]])], -1, 1, cv2.FILLED)
    return filled


def _arc(
    start: npt.NDArray[np.int32], end: npt.NDArray[np.int32], centre: tuple[float, float]
) -> npt.NDArray[np.int32]:
    """Points (column, row) from one to the other at a distance from the centre that changes evenly with the angle."""
    ends = np.stack([start, end]).astype(np.float64) - (centre[1], centre[0])
    radii, angles = np.hypot(ends[:, 0], ends[:, 1]), np.arctan2(ends[:, 1], ends[:, 0])
    turn = (angles[1] - angles[0] + np.pi) % (2 * np.pi) - np.pi
    share = np.linspace(0, 1, 2 + int(abs(turn) * radii.max()))
    angle, radius = angles[0] + share * turn, radii[0] + share * (radii[1] - radii[0])
    points = np.stack([centre[1] + radius * np.cos(angle), centre[0] + radius * np.sin(angle)], axis=1)
    return np.rint(points).astype(np.int32)
