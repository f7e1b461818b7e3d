"""Into the network's window and back: one plane at a time, the same way in training and in use."""

import cv2
import numpy as np
from numpy.typing import NDArray

from analysis.model.crop import LungBox

OUTSIDE_HU = 40.0  # soft tissue: what lies around a crop of the lungs
FLOOR_HU, CEILING_HU = -1024.0, 600.0  # Killekar et al. 2022, section 4.1


def resampled(plane: NDArray[np.float32], box: LungBox, *, size: int, fill: float) -> NDArray[np.float32]:
    """The box of a plane ``(row, column)`` as ``(size, size)``; ``fill`` stands where the box leaves the plane.

    Averages where the box is larger than the window, interpolates where it is not.
    """
    rows, columns = plane.shape
    pad = ((max(0, -box.top), max(0, box.bottom - rows)), (max(0, -box.left), max(0, box.right - columns)))
    inside = plane[max(0, box.top) : min(rows, box.bottom), max(0, box.left) : min(columns, box.right)]
    wide = np.pad(inside, pad, constant_values=fill)
    shrinking = wide.shape[0] > size or wide.shape[1] > size
    return np.asarray(
        cv2.resize(wide, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR), np.float32
    )


def restored(
    window: NDArray[np.float32], box: LungBox, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
    """A window ``(row, column, map)`` at the plane's own resolution, and the rows and columns it covers there.

    Bilinear, so that a boundary falls between the pixels of the window; what the box holds beyond the plane is cut off.
    """
    rows, columns = box.bottom - box.top, box.right - box.left
    native = np.asarray(cv2.resize(window, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)
    top, bottom = max(0, box.top), min(shape[0], box.bottom)
    left, right = max(0, box.left), min(shape[1], box.right)
    cut = native[top - box.top : bottom - box.top, left - box.left : right - box.left]
    return cut, (slice(top, bottom), slice(left, right))
