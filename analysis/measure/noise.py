"""Image noise in soft tissue: how strong it is, and how fine-grained, which tells a sharp kernel from a soft one."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from analysis.series.volume import Volume

_TISSUE_HU = (0.0, 100.0)
_MEDIAN_OF_NORMAL = 0.6745
"""Median of the absolute value of a normal variable, in its sigma."""
_SLICES = 12
_WINDOW_MM, _LEAST_WINDOW = 8.0, 7
_LEAST_PIXELS = 200
_EDGE_HU = 200.0
_LEAST_CORRELATION, _MOST_CORRELATION = 0.01, 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """``sd_hu`` is the spread in soft tissue; ``grain_mm`` the distance over which it loses 63 % of its correlation."""

    sd_hu: float
    grain_mm: float


def measure_noise(volume: Volume) -> Noise | None:
    """Noise in voxels that are soft tissue after smoothing over 8 mm (at least 7 pixels); None where there is little.

    Strength is the median deviation from that smoothing, so that edges hardly matter and noise that a soft kernel has
    spread out counts in full. Grain follows from the correlation of neighbours in a row. Time grows with 12 slices.
    """
    found: list[npt.NDArray[np.float32]] = []
    squares = products = 0.0
    window = max(_LEAST_WINDOW, 2 * round(_WINDOW_MM / volume.column_spacing_mm / 2) + 1)
    for index in np.unique(np.linspace(0, len(volume.hu) - 1, _SLICES).astype(int)):
        pixels = volume.hu[index].astype(np.float32)
        smooth = cv2.blur(pixels, (window, window))
        tissue = ((smooth > _TISSUE_HU[0]) & (smooth < _TISSUE_HU[1])).astype(np.uint8)
        tissue = cv2.erode(tissue, np.ones((window, window), np.uint8)) > 0
        if not tissue.any():
            continue
        deviation = pixels - smooth
        found.append(deviation[tissue])
        even = np.where(tissue & (np.abs(deviation) < _EDGE_HU), deviation, np.float32(0))
        squares += float(np.sum(even[:, 1:] ** 2))
        products += float(np.sum(even[:, 1:] * even[:, :-1]))
    if sum(part.size for part in found) < _LEAST_PIXELS or not squares:
        return None
    correlation = min(_MOST_CORRELATION, max(_LEAST_CORRELATION, products / squares))
    return Noise(
        sd_hu=float(np.median(np.abs(np.concatenate(found))) / _MEDIAN_OF_NORMAL),
        grain_mm=float(-volume.column_spacing_mm / np.log(correlation)),
    )
