"""The first version of the ConvLSTM network: Grodecki et al. 2021 (arXiv), section 2.5.

Other than in Killekar et al. 2022 the main branch sees the segmented slice alone, the ConvLSTM reads eleven slices, the
attention branch's segmentation head sees nothing but its last state, and every layer starts by He's initialisation.
The paper's gate weights the main branch where the later one's weights the attention branch: the same network, since
sigmoid(-x) = 1 - sigmoid(x). Sizes that the paper does not give are those of the later version.
"""

import torch
from torch import Tensor, nn

from analysis.model.network import (
    CENTRE_SLICES,
    CLASS_COUNT,
    ConvLSTM,
    DenseTrunk,
    NetworkShape,
    SegmentationHead,
    SegmentationOutput,
    UpsampledConvolution,
)

_LSTM_INPUTS = 3  # the grey slice as three equal maps, as in the later version


class ConvLstm2021(nn.Module):
    """Main branch on one slice, attention branch on all, and the gate that joins them."""

    def __init__(self, shape: NetworkShape, *, restructured: bool = False) -> None:
        super().__init__()
        wide, narrow = shape.head_maps
        self.trunk = DenseTrunk()
        self.main_head = SegmentationHead(
            UpsampledConvolution(DenseTrunk.out_maps, wide, restructured=restructured), CLASS_COUNT, (wide, narrow)
        )
        self.lstm = ConvLSTM(_LSTM_INPUTS, shape.lstm_maps)
        self.attended_head = _state_head(shape, CLASS_COUNT)
        self.gate_head = _state_head(shape, 1)
        self.apply(_initialise)

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """Logits of both branches, the gate, and the joined logits, for ``(window, slice, row, column)``."""
        middle = stack.shape[1] // 2
        centre = stack[:, middle : middle + 1].expand(-1, CENTRE_SLICES, -1, -1)
        main = self.main_head(self.trunk(centre.contiguous(memory_format=torch.channels_last))).float()
        state = self.lstm(stack)
        attended = self.attended_head(state).float()
        gate = torch.sigmoid(self.gate_head(state).float())
        return SegmentationOutput(torch.lerp(main, attended, gate.expand_as(main)), main, attended, gate)

    def forward(self, stack: Tensor) -> Tensor:
        """Joined logits ``(window, class, row, column)``."""
        return self.branches(stack).logits


def _state_head(shape: NetworkShape, out_maps: int) -> SegmentationHead:
    first = nn.Conv2d(shape.lstm_maps, shape.head_maps[0], 3, padding=1, bias=False)
    return SegmentationHead(first, out_maps, shape.head_maps)


def _initialise(module: nn.Module) -> None:
    """He's initialisation (section 2.6); the paper's ImageNet weights of the dense block were not to be had."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=0.01, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
