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
_ALONG_BODY_MM = 10.0
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
    for index in np.flatnonzero(sides.any(axis=(1, 2))):
        soft = (grid.hu[index] < _SOFT_OPACITY_HU) & body[index] & ~airways[index]
        for label in (RIGHT, LEFT):
            lung = (sides[index] == label).astype(np.uint8)
            if not lung.any():
                continue
            lung = _take_in_soft_opacity(grid, lung, soft & (sides[index] == 0))
            below = (result[index - 1] == label) if index else np.zeros(lung.shape, bool)
            wider = _fill_enclosed(grid, _close(grid, lung) | _costal_fill(grid, lung, label), below)
            added = (wider > 0) & (sides[index] == 0) & (grid.hu[index] < _DENSEST_LESION_HU)
            added &= body[index] & ~airways[index]
            plane = result[index]
            plane[added & (plane == 0)] = label
    return _close_along_body(grid, result, airways, body)


def _close_along_body(grid: Grid, sides: Labels, airways: Mask, body: Mask) -> Labels:
    """Take for lung what has the same lung above and below it, at up to 10 mm, as opacity at the wall does."""
    result = sides.copy()
    addable = (grid.hu < _DENSEST_LESION_HU) & body & ~airways
    for away in range(1, 1 + int(_ALONG_BODY_MM / grid.slice_mm)):
        if 2 * away >= len(sides):
            break
        lower, upper, here = sides[: -2 * away], sides[2 * away :], result[away:-away]
        between = (lower == upper) & (lower > 0) & (here == 0) & addable[away:-away]
        here[between] = lower[between]
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


def _costal_fill(grid: Grid, lung: npt.NDArray[np.uint8], label: int) -> npt.NDArray[np.uint8]:
    """Fill the dents of the costal face: gaps to the convex hull whose two ends both lie on the outer side.

    The gap over heart or spine has its ends on the inner side, that over the dome of the diaphragm one end there.
    """
    filled = lung.copy()
    contours, _ = cv2.findContours(lung, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if cv2.contourArea(contour) * grid.row_mm * grid.column_mm < _MINIMUM_AREA_MM2:
            continue
        points = contour[:, 0, :]
        hull = np.sort(cv2.convexHull(contour, returnPoints=False), axis=0)
        defects = cv2.convexityDefects(contour, hull) if len(hull) > 3 else None  # noqa: PLR2004 - OpenCV's least
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
                cv2.drawContours(filled, [stretch], -1, 1, cv2.FILLED)
    return filled
