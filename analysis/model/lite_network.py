"""The shipped network: branches and gate of Killekar et al. 2022 with a trunk that ImageNet has taught to see.

Input and output are those of :class:`~analysis.model.network.ConvLstmNetwork`. What differs, and why:

- The trunk is that of EfficientNet-Lite0 (:mod:`.lite_trunk`), which can begin with ImageNet's weights, as the paper's
  does with those of DenseNet121: from scratch, nine patients teach a trunk little.
- Its maps are joined upwards to half of the resolution (Ronneberger et al. 2015), so that a pixel is judged by its
  surroundings of some 300 pixels and borders follow the image.
- Blocks of 2x2 pixels enter the ConvLSTM as four maps, and the last convolution of each head writes four pixels a
  position (sub-pixel convolution, Shi et al. 2016): no pixel is lost, and a head costs a quarter.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.model.lite_trunk import ConvNorm, LiteTrunk
from analysis.model.network import (
    CENTRE_SLICES,
    CLASS_COUNT,
    ConvLSTM,
    NetworkShape,
    SegmentationHead,
    SegmentationOutput,
    initialise,
)

_BLOCK = 2  # pixels an axis that are one position of the heads
_DEEP_MAPS, _FINE_MAPS = 64, 48
_ATTENDED_MAPS = (32, 32)
_GATE_MAPS = (32, 16)


class Upward(nn.Module):
    """From the maps of all resolutions to 48 maps at half of the resolution."""

    def __init__(self, in_maps: tuple[int, int, int, int]) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = in_maps
        self.deepest = ConvNorm(sixteenth, _DEEP_MAPS, 1, activation=nn.ReLU())
        self.from_eighth = nn.Conv2d(eighth, _DEEP_MAPS, 1, bias=False)
        self.at_eighth = ConvNorm(_DEEP_MAPS, _DEEP_MAPS, 3, activation=nn.ReLU())
        self.narrow = nn.Conv2d(_DEEP_MAPS, _FINE_MAPS, 1, bias=False)
        self.from_quarter = nn.Conv2d(quarter, _FINE_MAPS, 1, bias=False)
        self.at_quarter = ConvNorm(_FINE_MAPS, _FINE_MAPS, 3, activation=nn.ReLU())
        self.from_half = nn.Conv2d(half, _FINE_MAPS, 1, bias=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """``(window, map, row, column)`` at half of the resolution."""
        half, quarter, eighth, sixteenth = levels
        maps = self.at_eighth(functional.relu(_doubled(self.deepest(sixteenth)) + self.from_eighth(eighth)))
        maps = self.at_quarter(functional.relu(_doubled(self.narrow(maps)) + self.from_quarter(quarter)))
        return functional.relu(_doubled(maps) + self.from_half(half))


class LiteNetwork(nn.Module):
    """Main branch, attention branch and gate at half resolution; rows and columns are multiples of sixteen."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        pixels = _BLOCK**2
        centre = CENTRE_SLICES * pixels
        self.trunk = LiteTrunk()
        self.upward = Upward(LiteTrunk.out_maps)
        self.main_head = _head(_FINE_MAPS + centre, CLASS_COUNT * pixels, shape.head_maps)
        self.lstm = ConvLSTM(pixels, shape.lstm_maps)
        self.attended_head = _head(shape.lstm_maps + centre, CLASS_COUNT * pixels, _ATTENDED_MAPS)
        self.gate_head = _head(shape.lstm_maps, pixels, _GATE_MAPS)
        self.apply(initialise)

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """Logits of both branches, the gate, and the joined logits, for ``(window, slice, row, column)``."""
        windows, slices, rows, columns = stack.shape
        start = (slices - CENTRE_SLICES) // 2
        centre = stack[:, start : start + CENTRE_SLICES]
        centre_blocks = functional.pixel_unshuffle(centre, _BLOCK)
        maps = self.upward(self.trunk(centre))
        main = functional.pixel_shuffle(self.main_head(torch.cat((maps, centre_blocks), dim=1)).float(), _BLOCK)
        blocks = functional.pixel_unshuffle(stack.reshape(windows * slices, 1, rows, columns), _BLOCK)
        state = self.lstm.of_maps(blocks, slices)
        joined = torch.cat((state, centre_blocks.to(state.dtype)), dim=1)
        attended = functional.pixel_shuffle(self.attended_head(joined).float(), _BLOCK)
        gate = torch.sigmoid(functional.pixel_shuffle(self.gate_head(state).float(), _BLOCK))
        return SegmentationOutput(torch.lerp(main, attended, gate.expand_as(main)), main, attended, gate)

    def forward(self, stack: Tensor) -> Tensor:
        """Joined logits ``(window, class, row, column)``."""
        return self.branches(stack).logits


def _doubled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def _head(in_maps: int, out_maps: int, widths: tuple[int, int]) -> SegmentationHead:
    return SegmentationHead(nn.Conv2d(in_maps, widths[0], 3, padding=1, bias=False), out_maps, widths)
