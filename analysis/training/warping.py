"""Random rotations and smooth displacements of three-dimensional examples."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_WAVES = ((4, 7.0), (8, 2.5))


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix that turns by these angles (radians) about each axis in turn."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def bend(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A smooth displacement in mm, (3, slice, row, column): long waves, and shorter ones of less height."""
    total = torch.zeros((1, 3, *shape))
    for knots, spread_mm in _WAVES:
        coarse = torch.from_numpy(random.normal(0, spread_mm, (1, 3, knots, knots, knots)).astype(np.float32))
        total += functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)
    return total[0].numpy()
