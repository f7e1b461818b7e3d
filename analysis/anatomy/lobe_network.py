"""A small U-Net that tells the lobes from the shape of the lungs alone, at 8 mm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

GRID_MM = 8.0
"""Spacing of the grid on which lobes are told, the same in all directions."""

CLASS_COUNT = 5
"""Right upper, middle and lower, left upper and lower lobe: labels 4 to 8 in this order."""

INPUT_COUNT = 6
STRIDE = 8
_LEVELS = 4


def network_inputs(
    right: npt.NDArray[np.float32], left: npt.NDArray[np.float32], imaged: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Channels for the network, (6, slice, row, column), padded to a multiple of 8 by what was not imaged.

    ``right`` and ``left`` (slice, row, column) hold the share of each voxel that is this lung; ``imaged`` (slice,) says
    which levels the scan holds. The other three channels place a voxel in the box of both lungs, -1 to 1 on each axis.
    """
    both = right + left
    channels = [right, left, np.broadcast_to(imaged[:, None, None], both.shape).astype(np.float32)]
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(both.max(axis=others) > 0)
        low, high = (int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else (0, both.shape[axis])
        place = ((np.arange(both.shape[axis]) + 0.5 - low) / (high - low) * 2 - 1).astype(np.float32)
        form = [1, 1, 1]
        form[axis] = -1
        channels.append(np.broadcast_to(place.reshape(form), both.shape))
    padding = [(0, 0), *((0, -size % STRIDE) for size in both.shape)]
    return np.pad(np.stack(channels), padding)


class LobeNetwork(nn.Module):
    """Four levels of convolutions, 8 to 64 mm; the last ones see the whole chest. No normalisation but GroupNorm."""

    def __init__(self, widths: tuple[int, ...] = (8, 24, 48, 64)) -> None:
        super().__init__()
        if len(widths) != _LEVELS:
            raise ValueError(f"the network has {_LEVELS} levels, not {len(widths)}")
        self.widths = widths
        entering = (INPUT_COUNT, *widths[:-1])
        self.down = nn.ModuleList(
            _block(inner, outer, 1 if level == 0 else 2)
            for level, (inner, outer) in enumerate(zip(entering, widths, strict=True))
        )
        self.narrow = nn.ModuleList(nn.Conv3d(widths[level + 1], widths[level], 1) for level in range(_LEVELS - 1))
        self.up = nn.ModuleList(_block(width, width, 1) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], CLASS_COUNT, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 5, slice, row, column) of inputs (batch, 6, ...); each side must be a multiple of 8."""
        levels: list[torch.Tensor] = []
        maps = inputs
        for level, block in enumerate(self.down):
            maps = block(functional.avg_pool3d(maps, 2) if level else maps)
            levels.append(maps)
        for level in reversed(range(_LEVELS - 1)):
            wider = functional.interpolate(
                self.narrow[level](maps), scale_factor=2.0, mode="trilinear", align_corners=False
            )
            maps = self.up[level](levels[level] + wider)
        return self.head(maps)


def side_logits(logits: torch.Tensor, right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Logits where a lobe of the other lung is out of the question; what is neither lung keeps all five."""
    none = (right + left) <= 0
    away = torch.where(none, 0.0, -30.0)
    not_right = torch.where(right > 0, 0.0, away)
    not_left = torch.where(left > 0, 0.0, away)
    return logits + torch.stack([not_right, not_right, not_right, not_left, not_left], dim=1)


def build(state: Mapping[str, Any], widths: tuple[int, ...]) -> LobeNetwork:
    """The network with these weights, ready to be asked."""
    network = LobeNetwork(widths)
    network.load_state_dict(state)
    return network.eval()


def _block(inner: int, outer: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [
            nn.Conv3d(inner if index == 0 else outer, outer, 3, padding=1, bias=False),
            nn.GroupNorm(outer // 4, outer),
            nn.LeakyReLU(0.1, inplace=True),
        ]
    return nn.Sequential(*layers)
