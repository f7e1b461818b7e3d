"""What the images say of the labels that a model is judged by; arithmetic on one scan, a pass over its voxels."""

import cv2
import numpy as np
import numpy.typing as npt

from analysis.evaluation.scoring import Mask, percent

_WINDOW_PX = 5
"""Noise and vessels are averaged out over so many pixels each way."""
_AERATED_WITHIN_HU = 60.0
"""Less above the scan's own lung than nearly all ground glass: lesions of covid20 have medians of 120 to 510 HU."""


def aerated_lesion_percent(hu: npt.NDArray[np.int16], lesion: Mask, lung: Mask) -> float | None:
    """Share of the labelled lesion that is about as dense as the rest of its own lungs; None without either.

    ``hu``, ``lesion`` and ``lung``: ``(slice, row, column)``. Outlines drawn widely around faint opacity have much of
    it; no model can be expected to find that share, nor should it.
    """
    healthy = lung & ~lesion
    if not healthy.any():
        return None
    smooth = np.stack([cv2.blur(plane, (_WINDOW_PX, _WINDOW_PX)) for plane in hu.astype(np.float32)])
    limit = float(np.median(smooth[healthy])) + _AERATED_WITHIN_HU
    return percent(int(np.count_nonzero(smooth[lesion] < limit)), int(np.count_nonzero(lesion)))
