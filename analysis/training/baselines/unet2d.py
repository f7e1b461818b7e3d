"""A two-dimensional U-Net, the first of the networks that Killekar et al. 2022 compare theirs with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.model.network import CLASS_COUNT, SegmentationOutput


class _DoubleConvolution(nn.Sequential):
    def __init__(self, in_maps: int, out_maps: int, inner_maps: int | None = None) -> None:
        inner = inner_maps or out_maps
        super().__init__(
            nn.Conv2d(in_maps, inner, 3, padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, out_maps, 3, padding=1),
            nn.BatchNorm2d(out_maps),
            nn.ReLU(),
        )


class UNet2D(nn.Module):
    """A U-Net (Ronneberger et al. 2015), bilinear up-sampling, three slices as channels: 17,267,523 parameters."""

    def __init__(self, slices: int = 3, width: int = 64) -> None:
        super().__init__()
        w = width
        self.entry = _DoubleConvolution(slices, w)
        self.down = nn.ModuleList(
            (
                _DoubleConvolution(w, 2 * w),
                _DoubleConvolution(2 * w, 4 * w),
                _DoubleConvolution(4 * w, 8 * w),
                _DoubleConvolution(8 * w, 8 * w),
            )
        )
        self.up = nn.ModuleList(
            (
                _DoubleConvolution(16 * w, 4 * w, 8 * w),
                _DoubleConvolution(8 * w, 2 * w, 4 * w),
                _DoubleConvolution(4 * w, w, 2 * w),
                _DoubleConvolution(2 * w, w, w),
            )
        )
        self.last = nn.Conv2d(w, CLASS_COUNT, 1)

    def forward(self, stack: Tensor) -> Tensor:
        """Logits ``(window, class, row, column)`` for ``(window, slice, row, column)``; sides divisible by 16."""
        x = self.entry(stack)
        kept: list[Tensor] = []
        for block in self.down:
            kept.append(x)
            x = block(functional.max_pool2d(x, 2))
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat((kept.pop(), x), dim=1))
        return self.last(x).float()

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """The logits, in the harness's form: a single branch, so no gate is open."""
        logits = self(stack)
        return SegmentationOutput(logits, logits, logits, torch.zeros_like(logits[:, :1]))
