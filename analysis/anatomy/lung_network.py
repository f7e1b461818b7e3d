"""A small U-Net that tells right lung, left lung and neither, at 5 mm, where dense lung still looks like lung."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from analysis.anatomy.unet import UNet, padded

GRID_MM = 5.0
"""Spacing of the grid on which lungs are told, the same in all directions."""

CLASS_COUNT = 3
"""Neither, right lung, left lung."""

_WINDOWS_HU = ((-1000.0, 200.0), (-200.0, 200.0))
"""One window for lung and air, and one in which dense lung, muscle and fat differ."""

_ASIDE_MM = 100.0

BLOCK_LEVELS, OVERLAP_LEVELS = 96, 32
"""A tall scan is told in blocks of levels, so that memory does not grow with it; what overlaps is blended."""


def network_inputs(hu: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
    """Channels for the network, (3, slice, row, column), from HU; padded to a multiple of the stride by air.

    The third says how far to the left of the middle column a voxel lies, so that sides are told where lungs are alike.
    """
    channels = [(np.clip(hu, low, high) - (low + high) / 2) * np.float32(2 / (high - low)) for low, high in _WINDOWS_HU]
    columns = hu.shape[2]
    aside = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * np.float32(GRID_MM / _ASIDE_MM)
    channels.append(np.broadcast_to(aside, hu.shape))
    return padded(np.stack(channels).astype(np.float32, copy=False), stride, fill=-1.0)


def lung_logits(network: UNet, hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits (3, slice, row, column) of a scan on the grid, in blocks."""
    count = len(hu)
    step = BLOCK_LEVELS - OVERLAP_LEVELS
    starts = range(0, max(1, count - OVERLAP_LEVELS), step)
    if len(starts) == 1:
        return _block_logits(network, hu)
    total = np.zeros((CLASS_COUNT, *hu.shape), np.float32)
    weights = np.zeros(count, np.float32)
    for start in starts:
        stop = min(count, start + BLOCK_LEVELS)
        places = np.arange(start, stop)
        weight = np.full(stop - start, float(OVERLAP_LEVELS))
        if start > 0:
            weight = np.minimum(weight, places - start + 1)
        if stop < count:
            weight = np.minimum(weight, stop - places)
        total[:, start:stop] += _block_logits(network, hu[start:stop]) * weight[:, None, None].astype(np.float32)
        weights[start:stop] += weight.astype(np.float32)
    return total / weights[:, None, None]


def _block_logits(network: UNet, hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        logits = network(torch.from_numpy(network_inputs(hu, network.stride))[None])[0]
    return logits[:, : hu.shape[0], : hu.shape[1], : hu.shape[2]].contiguous().numpy()


def lung_network(widths: tuple[int, ...]) -> UNet:
    """The network with its first, random weights."""
    return UNet(inputs=len(_WINDOWS_HU) + 1, outputs=CLASS_COUNT, widths=widths, normalised=False)


def build(state: Mapping[str, Any], widths: tuple[int, ...]) -> UNet:
    """The network with these weights, ready to be asked."""
    network = lung_network(widths)
    network.load_state_dict(state)
    return network.eval()
