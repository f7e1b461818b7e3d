"""The trunk of EfficientNet-Lite0 (Tan and Le 2019, Lite variant) up to a sixteenth of the resolution.

Inverted residual blocks (Sandler et al. 2018) without squeeze-and-excitation, ReLU6. Weights that were trained on
ImageNet fit it: :mod:`analysis.training.imagenet`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

_STEM_MAPS = 32


class _Stage(NamedTuple):
    """Blocks of one resolution: the first has the stride."""

    maps: int
    kernel: int
    stride: int
    expansion: int
    blocks: int


_STAGES = (
    _Stage(16, 3, 1, 1, 1),
    _Stage(24, 3, 2, 6, 2),
    _Stage(40, 5, 2, 6, 2),
    _Stage(80, 3, 2, 6, 3),
    _Stage(112, 5, 1, 6, 2),  # the paper's table has three here
)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation, activation."""

    def __init__(
        self, in_maps: int, maps: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: nn.Module
    ) -> None:
        super().__init__(
            nn.Conv2d(in_maps, maps, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(maps),
            activation,
        )


class InvertedResidual(nn.Module):
    """More maps by a 1x1 convolution, each filtered by itself, then fewer maps; added to the input where it fits."""

    def __init__(self, in_maps: int, maps: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_maps * expansion
        self.expand = nn.Identity() if expansion == 1 else ConvNorm(in_maps, inner, 1, activation=nn.ReLU6())
        self.filter = ConvNorm(inner, inner, kernel, stride=stride, groups=inner, activation=nn.ReLU6())
        self.project = ConvNorm(inner, maps, 1, activation=nn.Identity())
        self.adds = stride == 1 and in_maps == maps

    def forward(self, x: Tensor) -> Tensor:
        """``(window, map, row, column)``."""
        out = self.project(self.filter(self.expand(x)))
        return x + out if self.adds else out


class LiteTrunk(nn.Module):
    """Three slices in; maps at a half, a quarter, an eighth and a sixteenth of the resolution out."""

    out_maps = (16, 24, 40, 112)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, _STEM_MAPS, 3, stride=2, activation=nn.ReLU6())]
        self.levels = nn.ModuleList()
        maps = _STEM_MAPS
        for stage in _STAGES:
            if stage.stride > 1:
                self.levels.append(nn.Sequential(*layers))
                layers = []
            for k in range(stage.blocks):
                stride = stage.stride if k == 0 else 1
                layers.append(
                    InvertedResidual(maps, stage.maps, kernel=stage.kernel, stride=stride, expansion=stage.expansion)
                )
                maps = stage.maps
        self.levels.append(nn.Sequential(*layers))

    @property
    def stem(self) -> ConvNorm:
        """The first convolution."""
        return next(module for module in self.modules() if isinstance(module, ConvNorm))

    @property
    def blocks(self) -> list[InvertedResidual]:
        """The blocks in their order."""
        return [module for module in self.modules() if isinstance(module, InvertedResidual)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of falling resolution, ``(window, map, row, column)`` each; float32 even under autocast.

        Filters of single maps wait for memory, not for arithmetic: bfloat16 makes them slower on a CPU.
        """
        levels = []
        with torch.autocast(x.device.type, enabled=False):
            maps = x.float()
            for level in self.levels:
                maps = level(maps)
                levels.append(maps)
        return levels
