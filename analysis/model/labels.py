"""From class probabilities to labels: the one rule that evaluation and use share. Needs numpy only."""

import numpy as np
from numpy.typing import NDArray

LESION_PROBABILITY = 0.5


def labels_of(probability: NDArray[np.float32], *, axis: int, lesion_probability: float) -> NDArray[np.uint8]:
    """0 background, 1 ground glass, 2 high opacity for probabilities whose three classes lie along ``axis``.

    A pixel is lesion where the probabilities of both opacities together reach ``lesion_probability``; it is of the
    more probable one.
    """
    background, ggo, high = (np.take(probability, k, axis=axis) for k in range(3))
    labels = np.where(high > ggo, np.uint8(2), np.uint8(1))
    labels[background > 1.0 - lesion_probability] = 0
    return labels
