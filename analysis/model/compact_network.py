"""The shipped network: branches and gate of Killekar et al. 2022, computed at half of the resolution.

Input and output are those of :class:`~analysis.model.network.ConvLstmNetwork`. What differs, and why:

- Blocks of 2x2 pixels enter the ConvLSTM as four maps, and the last convolution of each head writes four pixels a
  position (sub-pixel convolution, Shi et al. 2016): no pixel is lost, and a head costs a quarter.
- A second dense block at an eighth of the resolution sees the surroundings of a lesion, 140 pixels instead of 60.
- The main head also reads the trunk's first maps, so that its borders follow the image (Ronneberger et al. 2015).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.model.network import (
    CENTRE_SLICES,
    CLASS_COUNT,
    ConvLSTM,
    DenseLayer,
    DenseTrunk,
    NetworkShape,
    SegmentationHead,
    SegmentationOutput,
    initialise,
)

_BLOCK = 2  # pixels an axis that are one position of the heads
_CONTEXT_MAPS = 80
_CONTEXT_GROWTH = 20
_CONTEXT_LAYERS = 5
_FUSED_MAPS = 48


class Surroundings(nn.Sequential):
    """Transition and second dense block: the trunk's maps in, 180 maps at half of their resolution out."""

    out_maps = _CONTEXT_MAPS + _CONTEXT_LAYERS * _CONTEXT_GROWTH

    def __init__(self, in_maps: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_maps),
            nn.ReLU(),
            nn.Conv2d(in_maps, _CONTEXT_MAPS, 1, bias=False),
            nn.AvgPool2d(2),
            *(DenseLayer(_CONTEXT_MAPS + k * _CONTEXT_GROWTH, _CONTEXT_GROWTH) for k in range(_CONTEXT_LAYERS)),
        )


class CompactNetwork(nn.Module):
    """Main branch, attention branch and gate at half resolution; rows and columns are multiples of eight."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        wide, narrow = shape.head_maps
        pixels = _BLOCK**2
        self.trunk = DenseTrunk()
        self.surroundings = Surroundings(DenseTrunk.out_maps)
        self.fuse = nn.Conv2d(DenseTrunk.out_maps + Surroundings.out_maps, _FUSED_MAPS * pixels, 1, bias=False)
        self.main_head = _head(_FUSED_MAPS + DenseTrunk.first_maps, CLASS_COUNT * pixels, (wide, narrow))
        self.lstm = ConvLSTM(pixels, shape.lstm_maps)
        joined = shape.lstm_maps + CENTRE_SLICES * pixels
        self.attended_head = _head(joined, CLASS_COUNT * pixels, (wide, narrow))
        self.gate_head = _head(shape.lstm_maps, pixels, (wide, narrow))
        self.apply(initialise)

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """Logits of both branches, the gate, and the joined logits, for ``(window, slice, row, column)``."""
        start = (self.shape.slices - CENTRE_SLICES) // 2
        centre = stack[:, start : start + CENTRE_SLICES]
        main = self._main(centre)
        windows, slices, rows, columns = stack.shape
        blocks = functional.pixel_unshuffle(stack.reshape(windows * slices, 1, rows, columns), _BLOCK)
        state = self.lstm.of_maps(blocks.contiguous(memory_format=torch.channels_last), slices)
        centre_blocks = functional.pixel_unshuffle(centre, _BLOCK)
        attended = self.attended_head(torch.cat((state, centre_blocks.to(state.dtype)), dim=1))
        attended = functional.pixel_shuffle(attended.float(), _BLOCK)
        gate = torch.sigmoid(functional.pixel_shuffle(self.gate_head(state).float(), _BLOCK))
        return SegmentationOutput(torch.lerp(main, attended, gate.expand_as(main)), main, attended, gate)

    def forward(self, stack: Tensor) -> Tensor:
        """Joined logits ``(window, class, row, column)``."""
        return self.branches(stack).logits

    def _main(self, centre: Tensor) -> Tensor:
        first = self.trunk.first(centre)
        maps = self.trunk.rest(first)
        around = functional.interpolate(self.surroundings(maps), scale_factor=2, mode="bilinear", align_corners=False)
        fused = self.fuse(torch.cat((maps, around.to(maps.dtype)), dim=1))
        fused = functional.pixel_shuffle(fused, _BLOCK)
        logits = self.main_head(torch.cat((fused, first), dim=1))
        return functional.pixel_shuffle(logits.float(), _BLOCK)


def _head(in_maps: int, out_maps: int, widths: tuple[int, int]) -> SegmentationHead:
    return SegmentationHead(nn.Conv2d(in_maps, widths[0], 3, padding=1, bias=False), out_maps, widths)
