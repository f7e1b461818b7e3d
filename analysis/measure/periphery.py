"""How much of the opacity lies at the outside of the lungs, where COVID-19 pneumonia mostly begins."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

PERIPHERAL_MM = 20.0
"""How deep the outer part of the lungs reaches.

Readers call an opacity subpleural in the outer third of the lung (Pan et al. 2020, Radiology 295:715). In millimetres
that is about 20 from the chest wall towards a hilum some 60 mm away; this number, and that the convex outline of both
lungs in a slice stands for the chest wall, are our own.
"""

_GRID_MM = 2.5
_Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Periphery:
    """Shares, in percent, that lie within 20 mm of the outside: of the opacities, and of the lungs themselves.

    The second is what evenly spread opacities would give. ``lesion_percent`` is None where there is no opacity.
    """

    lesion_percent: float | None
    lung_percent: float


def measure_periphery(
    sides: _Labels,
    lesions: _Labels,
    *,
    slice_positions_mm: npt.NDArray[np.float64],
    slice_weights_mm: npt.NDArray[np.float64],
    spacing_mm: tuple[float, float],
    imaged_beyond: tuple[bool, bool],
) -> Periphery:
    """Share of lungs and lesions, both (slice, row, column), within 20 mm of the convex outline of the lungs.

    Distances are in three dimensions, at about 2.5 mm within a slice and exact between slices. ``imaged_beyond`` says
    whether there are slices below and above the first and last given: where there are, the lungs end; where there are
    none, nobody knows, and no outside is assumed there.
    """
    factor = max(1, round(_GRID_MM / max(spacing_mm)))
    pixel_mm = factor * sum(spacing_mm) / 2
    size = (max(1, sides.shape[2] // factor), max(1, sides.shape[1] // factor))
    lung, lesion = (np.stack([_shares(plane, size) for plane in labels]) for labels in (sides, lesions))
    depth = np.stack([_depth_mm(plane, pixel_mm) for plane in lung])
    outer = np.stack([_outer(index, depth, slice_positions_mm, imaged_beyond) for index in range(len(depth))])
    whole_lung, whole_lesion, outer_lung, outer_lesion = (
        float(slice_weights_mm @ share.sum(axis=(1, 2), dtype=np.float64))
        for share in (lung, lesion, lung * outer, lesion * outer)
    )
    return Periphery(
        lesion_percent=100.0 * outer_lesion / whole_lesion if whole_lesion else None,
        lung_percent=100.0 * outer_lung / whole_lung if whole_lung else 0.0,
    )


def _shares(plane: _Labels, size: tuple[int, int]) -> _Labels:
    """Share of each coarse pixel that is labelled at all, in 255ths."""
    return np.asarray(cv2.resize((plane > 0) * np.uint8(255), size, interpolation=cv2.INTER_AREA), np.uint8)


def _depth_mm(lung: _Labels, pixel_mm: float) -> npt.NDArray[np.float32]:
    """Distance of each pixel inside the convex outline of a slice's lungs to that outline; 0 outside."""
    if not lung.any():
        return np.zeros(lung.shape, np.float32)
    points = cv2.findNonZero(lung)
    filled = np.zeros((lung.shape[0] + 2, lung.shape[1] + 2), np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(points) + 1, 1)
    return np.asarray(cv2.distanceTransform(filled, cv2.DIST_L2, 5)[1:-1, 1:-1] * pixel_mm, np.float32)


def _outer(
    index: int,
    depth: npt.NDArray[np.float32],
    positions_mm: npt.NDArray[np.float64],
    imaged_beyond: tuple[bool, bool],
) -> npt.NDArray[np.bool_]:
    """Pixels of a slice whose distance to the outline, of this slice or another one near, is 20 mm or less."""
    away = np.abs(positions_mm - positions_mm[index])
    outer = np.zeros(depth.shape[1:], bool)
    for other in np.flatnonzero(away < PERIPHERAL_MM):
        outer |= depth[other] <= np.float32(np.sqrt(PERIPHERAL_MM**2 - away[other] ** 2))
    for end, beyond in ((0, imaged_beyond[0]), (-1, imaged_beyond[1])):
        if beyond and away[end] < PERIPHERAL_MM:
            outer[:] = True
    return outer
