"""What the images say of the labels that a model is judged by; arithmetic on one scan, a pass over its voxels."""

import cv2
import numpy as np
import numpy.typing as npt

from analysis.evaluation.scoring import Mask

_WINDOW_PX = 5
"""Noise and vessels are averaged out over so many pixels each way."""
_AERATED_WITHIN_HU = 60.0
"""Less above the scan's own lung than nearly all ground glass: lesions of covid20 have medians of 120 to 510 HU."""


def aerated(hu: npt.NDArray[np.int16], lesion: Mask, lung: Mask) -> Mask | None:
    """Where a scan is about as aerated as its lungs outside the labelled lesion; None where there is no such lung.

    ``hu``, ``lesion``, ``lung`` and the result: ``(slice, row, column)``. Outlines drawn widely around faint opacity
    hold much of it; no model can be expected to find that share, nor should it.
    """
    healthy = lung & ~lesion
    if not healthy.any():
        return None
    smooth = np.stack([cv2.blur(plane, (_WINDOW_PX, _WINDOW_PX)) for plane in hu.astype(np.float32)])
    return smooth < float(np.median(smooth[healthy])) + _AERATED_WITHIN_HU
