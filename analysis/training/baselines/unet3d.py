"""A three-dimensional U-Net (Cicek et al. 2016), as pytorch-3dunet builds it and Killekar et al. 2022 compare with it.

Four levels of 64, 128, 256 and 512 maps; 3x3x3 convolutions, each after a group normalisation and before a ReLU
(that library's order ``gcr``); pooling by (1, 2, 2), so that no slice is lost; nearest-neighbour up-sampling.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.model.network import CLASS_COUNT, SegmentationOutput

_GROUPS = 8
_IN_PLANE = (1, 2, 2)


def _convolution(in_maps: int, out_maps: int) -> nn.Sequential:
    """Group normalisation, convolution without bias, ReLU."""
    return nn.Sequential(
        nn.GroupNorm(_GROUPS if in_maps >= _GROUPS else 1, in_maps),
        nn.Conv3d(in_maps, out_maps, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
    )


def _encoder(in_maps: int, out_maps: int) -> nn.Sequential:
    """Two convolutions; the first has half of the maps, or as many as come in where those are more."""
    inner = max(in_maps, out_maps // 2)
    return nn.Sequential(_convolution(in_maps, inner), _convolution(inner, out_maps))


def _decoder(in_maps: int, out_maps: int) -> nn.Sequential:
    return nn.Sequential(_convolution(in_maps, out_maps), _convolution(out_maps, out_maps))


class UNet3D(nn.Module):
    """The 3D U-Net on the slices of a window as depth: 16,318,821 parameters; the centre slice's logits come out."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.encoders = nn.ModuleList(
            (_encoder(1, w), _encoder(w, 2 * w), _encoder(2 * w, 4 * w), _encoder(4 * w, 8 * w))
        )
        self.decoders = nn.ModuleList((_decoder(12 * w, 4 * w), _decoder(6 * w, 2 * w), _decoder(3 * w, w)))
        self.last = nn.Conv3d(w, CLASS_COUNT, 1)

    def forward(self, stack: Tensor) -> Tensor:
        """Logits ``(window, class, row, column)`` for ``(window, slice, row, column)``; sides divisible by 8."""
        x = self.encoders[0](stack.unsqueeze(1).contiguous())
        kept: list[Tensor] = []
        for block in list(self.encoders)[1:]:
            kept.append(x)
            x = block(functional.max_pool3d(x, _IN_PLANE))
        for block in self.decoders:
            skipped = kept.pop()
            x = functional.interpolate(x, size=skipped.shape[2:], mode="nearest")
            x = block(torch.cat((skipped, x), dim=1))
        return self.last(x)[:, :, stack.shape[1] // 2].float()

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """The logits, in the harness's form: a single branch, so no gate is open."""
        logits = self(stack)
        return SegmentationOutput(logits, logits, logits, torch.zeros_like(logits[:, :1]))
