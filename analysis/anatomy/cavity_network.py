"""A small U-Net that tells the pleural cavities at 10 mm, whatever fills them: lung, airless lung or fluid."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from analysis.anatomy.unet import UNet, padded

GRID_MM = 10.0
"""Coarse enough for ribs, spine and both sides of the chest to be seen at once, which tell where a cavity must be."""

CLASS_COUNT = 3
"""Neither, right cavity, left cavity."""

_WINDOWS_HU = ((-1000.0, 200.0), (-200.0, 200.0))
_ASIDE_MM = 100.0


def cavity_inputs(hu: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
    """Channels for the network, (4, slice, row, column), from HU; padded to a multiple of the stride by air.

    Beside two windows: the first of them mirrored, so that the other side of the chest is at hand at each place, and
    how far to the left of the middle column a voxel lies.
    """
    lung, soft = (
        (np.clip(hu, low, high) - (low + high) / 2) * np.float32(2 / (high - low)) for low, high in _WINDOWS_HU
    )
    columns = hu.shape[2]
    aside = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * np.float32(GRID_MM / _ASIDE_MM)
    channels = (lung, soft, lung[:, :, ::-1], np.broadcast_to(aside, hu.shape))
    return padded(np.stack(channels).astype(np.float32, copy=False), stride, fill=-1.0)


def cavity_logits(network: UNet, hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits (3, slice, row, column) of a scan on the grid."""
    with torch.inference_mode():
        logits = network(torch.from_numpy(cavity_inputs(hu, network.stride))[None])[0]
    return logits[:, : hu.shape[0], : hu.shape[1], : hu.shape[2]].contiguous().numpy()


def cavity_network(widths: tuple[int, ...]) -> UNet:
    """The network with its first, random weights."""
    return UNet(inputs=len(_WINDOWS_HU) + 2, outputs=CLASS_COUNT, widths=widths, normalised=False)


def build(state: Mapping[str, Any], widths: tuple[int, ...]) -> UNet:
    """The network with these weights, ready to be asked."""
    network = cavity_network(widths)
    network.load_state_dict(state)
    return network.eval()
