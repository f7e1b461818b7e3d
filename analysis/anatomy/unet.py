"""A small three-dimensional U-Net (Cicek et al. 2016), as lungs and lobes are told with."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

_MAPS_A_GROUP = 8
_SLOPE = 0.1


class UNet(nn.Module):
    """As many levels as widths, each at half the resolution of the one before; sums in place of concatenations.

    The maps lie channels last, which is what a CPU is quick with. ``normalised`` adds GroupNorm, for widths that are
    multiples of 8; without it absolute values count, as those of HU do.
    """

    def __init__(self, *, inputs: int, outputs: int, widths: tuple[int, ...], normalised: bool) -> None:
        super().__init__()
        if not widths or any(width % _MAPS_A_GROUP for width in widths):
            raise ValueError(f"widths are multiples of {_MAPS_A_GROUP}, not {widths}")
        self.widths = widths
        entering = (inputs, *widths[:-1])
        self.down = nn.ModuleList(
            _block(inner, outer, 1 if level == 0 else 2, normalised=normalised)
            for level, (inner, outer) in enumerate(zip(entering, widths, strict=True))
        )
        self.narrow = nn.ModuleList(nn.Conv3d(wider, width, 1) for width, wider in pairwise(widths))
        self.up = nn.ModuleList(_block(width, width, 1, normalised=normalised) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], outputs, 1)
        if not normalised:
            _spread_evenly(self)
        self.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue] - the stubs know 2D alone

    @property
    def stride(self) -> int:
        """Each side of the input must be a multiple of this."""
        return 2 ** (len(self.widths) - 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (batch, outputs, slice, row, column) of inputs (batch, inputs, slice, row, column)."""
        levels: list[torch.Tensor] = []
        maps = inputs.contiguous(memory_format=torch.channels_last_3d)
        for level, block in enumerate(self.down):
            maps = block(functional.avg_pool3d(maps, 2) if level else maps)
            levels.append(maps)
        for level in reversed(range(len(self.narrow))):
            wider = functional.interpolate(self.narrow[level](maps), scale_factor=2.0)
            maps = self.up[level](levels[level] + wider)
        return self.head(maps)


def padded(channels: npt.NDArray[np.float32], stride: int, fill: float = 0.0) -> npt.NDArray[np.float32]:
    """Channels (channel, slice, row, column) with each side widened at its end to a multiple of the stride."""
    widths = [(0, 0), *((0, -side % stride) for side in channels.shape[1:])]
    return np.pad(channels, widths, constant_values=fill)


def _block(inner: int, outer: int, depth: int, *, normalised: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers.append(nn.Conv3d(inner if index == 0 else outer, outer, 3, padding=1, bias=not normalised))
        if normalised:
            layers.append(nn.GroupNorm(outer // _MAPS_A_GROUP, outer))
        layers.append(nn.LeakyReLU(_SLOPE, inplace=True))
    return nn.Sequential(*layers)


def _spread_evenly(network: UNet) -> None:
    """First weights by which maps keep their spread from layer to layer (He et al. 2015); the head begins near 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        network.head.weight.mul_(0.1)
