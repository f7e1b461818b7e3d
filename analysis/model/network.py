"""The ConvLSTM segmentation network of Killekar et al. 2022 (J. Med. Imaging 9:054001), section 4.2.

Input: ``(window, slice, row, column)`` z-scored HU, F adjacent slices, the centre one is segmented.
Output: logits ``(window, class, row, column)`` for background, ground-glass opacity and high opacity.
Every convolution of a head is applied at full resolution as the paper writes it; ``restructured`` computes the first
one of the main head at a quarter of the resolution instead, with the same result (see :class:`UpsampledConvolution`).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASS_COUNT = 3
BACKGROUND, GROUND_GLASS, HIGH_OPACITY = range(CLASS_COUNT)

_TRUNK_MAPS = 64  # DenseNet121: Huang et al. 2017, table 1
_GROWTH = 32
_BOTTLENECK = 4
_DENSE_LAYERS = 6
_UPSCALING = 4  # conv0 and its pooling halve the image twice
CENTRE_SLICES = 3  # trunk and second head look at the centre slice and its two neighbours


_MOST_MAPS, _MOST_SLICES = 2048, 31


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """The sizes that the paper leaves open; the defaults give its 788,683 parameters and 0.492 TMAC a 16 windows.

    ``design`` says which network the sizes are of: this one, or :mod:`~analysis.model.lite_network`.
    """

    design: Literal["paper", "lite"] = "paper"
    slices: int = 3
    lstm_maps: int = 2
    head_maps: tuple[int, int] = (108, 64)

    def __post_init__(self) -> None:
        if self.slices < CENTRE_SLICES or self.slices % 2 == 0:
            raise ValueError(f"a window has an odd number of slices, at least three: {self.slices}")
        if min(self.lstm_maps, *self.head_maps) < 1:
            raise ValueError(f"a layer has at least one map: {self}")
        if max(self.lstm_maps, *self.head_maps) > _MOST_MAPS or self.slices > _MOST_SLICES:
            raise ValueError(f"a network that no machine here can hold: {self}")


class SegmentationOutput(NamedTuple):
    """The joined logits and what they are made of; both branches are supervised in training.

    ``logits``, ``main`` and ``attended``: ``(window, class, row, column)``.
    ``gate`` (alpha): ``(window, 1, row, column)``.
    """

    logits: Tensor
    main: Tensor
    attended: Tensor
    gate: Tensor


class DenseLayer(nn.Module):
    """Bottleneck layer of a dense block: its new maps are appended to those it is given."""

    def __init__(self, maps: int, growth: int = _GROWTH) -> None:
        super().__init__()
        inner = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(maps)
        self.conv1 = nn.Conv2d(maps, inner, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The input maps and the new ones, ``(window, map, row, column)``."""
        inner = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat((x, self.conv2(functional.relu(self.norm2(inner)))), dim=1)


class DenseTrunk(nn.Sequential):
    """DenseNet121 up to its first dense block: three slices in, 256 maps at a quarter of the resolution out."""

    out_maps = _TRUNK_MAPS + _DENSE_LAYERS * _GROWTH

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(CENTRE_SLICES, _TRUNK_MAPS, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(_TRUNK_MAPS),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            *(DenseLayer(_TRUNK_MAPS + k * _GROWTH) for k in range(_DENSE_LAYERS)),
        )

    def first(self, x: Tensor) -> Tensor:
        """The 64 maps at half of the resolution, before pooling."""
        return self[2](self[1](self[0](x)))

    def rest(self, first: Tensor) -> Tensor:
        """The 256 maps at a quarter of the resolution, of the first ones."""
        maps = self[3](first)
        for layer in list(self)[4:]:
            maps = layer(maps)
        return maps


@lru_cache(maxsize=16)
def _shifted_upsampling(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Bilinear x4 interpolation along one axis, once for each of the three taps: ``(3 * size, 4 * size)``.

    Column ``y`` of tap ``d`` holds the weights of the up-sampled position ``y + d - 1``; zero where that lies outside,
    as the zero padding of the convolution has it.
    """
    with torch.inference_mode(mode=False), torch.no_grad():  # the same matrix serves training and inference
        identity = torch.eye(size).unsqueeze(1)
        up = functional.interpolate(identity, scale_factor=_UPSCALING, mode="linear", align_corners=False).squeeze(1)
        padded = functional.pad(up, (1, 1))
        width = _UPSCALING * size
        return torch.cat([padded[:, tap : tap + width] for tap in range(3)]).to(device, dtype)


class UpsampledConvolution(nn.Conv2d):
    """A 3x3 convolution of the x4 up-sampled input; restructured it never holds the up-sampled input.

    conv3x3(up(x)) = sum over taps of shift(up(W_tap x)): the maps are mixed by a 1x1 convolution at the low
    resolution, and shifting, interpolating and summing are two fixed matrices, one an axis. Exact and differentiable.
    """

    def __init__(self, in_maps: int, out_maps: int, *, restructured: bool = False) -> None:
        super().__init__(in_maps, out_maps, 3, padding=1, bias=False)
        self.restructured = restructured

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Conv2d gives it
        """Four times the rows and columns of ``(window, map, row, column)``."""
        if not self.restructured:
            up = functional.interpolate(input, scale_factor=_UPSCALING, mode="bilinear", align_corners=False)
            return super().forward(up)
        windows, _, rows, columns = input.shape
        # (out, in, dy, dx) -> one 1x1 convolution whose maps are ordered (dy, dx, out)
        mixing = self.weight.permute(2, 3, 0, 1).reshape(9 * self.out_channels, self.in_channels, 1, 1)
        mixed = functional.conv2d(input, mixing).contiguous()
        mixed = mixed.view(windows, 3, 3, self.out_channels, rows, columns)
        along_x = _shifted_upsampling(columns, mixed.dtype, mixed.device)
        along_y = _shifted_upsampling(rows, mixed.dtype, mixed.device)
        # (window, dy, out, row, dx * column) @ (dx * column, 4 column)
        wide = mixed.permute(0, 1, 3, 4, 2, 5).reshape(windows, 3, self.out_channels, rows, 3 * columns) @ along_x
        # (4 row, dy * row) @ (window, out, dy * row, 4 column)
        tall = wide.permute(0, 2, 1, 3, 4).reshape(windows, self.out_channels, 3 * rows, _UPSCALING * columns)
        out = along_y.t() @ tall
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class SegmentationHead(nn.Module):
    """3x3 convolution, batch normalisation, leaky ReLU, twice; then a 1x1 convolution to the output maps."""

    def __init__(self, first: nn.Conv2d, out_maps: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.first = first
        self.norm1: nn.Module = nn.BatchNorm2d(widths[0])
        self.second = nn.Conv2d(widths[0], widths[1], 3, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(widths[1])
        self.last = nn.Conv2d(widths[1], out_maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Output maps ``(window, map, row, column)`` of the input maps."""
        x = self.first(x)
        if x.is_cuda and not x.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        x = functional.leaky_relu(self.norm1(x), 0.01, inplace=True)
        x = functional.leaky_relu(self.norm2(self.second(x)), 0.01, inplace=True)
        return self.last(x)


class ConvLSTM(nn.Module):
    """A convolutional LSTM (Shi et al. 2015, without peepholes), read slice by slice."""

    def __init__(self, in_maps: int, maps: int) -> None:
        super().__init__()
        self.in_maps = in_maps
        self.maps = maps
        self.gates = nn.Conv2d(in_maps + maps, 4 * maps, 3, padding=1, bias=False)

    def forward(self, stack: Tensor) -> Tensor:
        """The last hidden state ``(window, map, row, column)`` of ``(window, slice, row, column)``."""
        windows, slices, rows, columns = stack.shape
        weight_in = self.gates.weight[:, : self.in_maps]
        # Every input map is the same grey slice, so their kernels add up; once for all slices.
        grey = stack.reshape(windows * slices, 1, rows, columns)
        driven = functional.conv2d(grey, weight_in.sum(1, keepdim=True), padding=1)
        return self._read(driven.view(windows, slices, 4 * self.maps, rows, columns))

    def of_maps(self, maps: Tensor, slices: int) -> Tensor:
        """The last hidden state of slices that have several maps each, ``(window * slice, map, row, column)``."""
        weight_in = self.gates.weight[:, : self.in_maps]
        driven = functional.conv2d(maps, weight_in, padding=1)
        return self._read(driven.view(-1, slices, *driven.shape[1:]))

    def _read(self, driven: Tensor) -> Tensor:
        """The last hidden state, from what each slice adds to the gates: ``(window, slice, gate map, row, column)``."""
        weight_hidden = self.gates.weight[:, self.in_maps :]
        hidden = cell = None
        for from_slice in driven.unbind(1):
            gates = from_slice if hidden is None else from_slice + functional.conv2d(hidden, weight_hidden, padding=1)
            entry, forget, candidate, out = gates.chunk(4, dim=1)
            written = torch.sigmoid(entry) * torch.tanh(candidate)
            cell = written if cell is None else torch.sigmoid(forget) * cell + written
            hidden = torch.sigmoid(out) * torch.tanh(cell)
        if hidden is None:
            raise ValueError("a window without slices")
        return hidden

    def forward_as_written(self, stack: Tensor) -> Tensor:
        """The same without the shortcuts: three equal input maps, and a hidden state of zeros at the first step."""
        windows, slices, rows, columns = stack.shape
        hidden = stack.new_zeros(windows, self.maps, rows, columns)
        cell = torch.zeros_like(hidden)
        for k in range(slices):
            maps = stack[:, k : k + 1].expand(-1, self.in_maps, -1, -1)
            entry, forget, candidate, out = self.gates(torch.cat((maps, hidden), dim=1)).chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(candidate)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
        return hidden


class ConvLstmNetwork(nn.Module):
    """Main branch, attention branch and the gate that joins them.

    Main: dense trunk on the three centre slices, up-sampled, segmentation head. Attention: ConvLSTM over all slices;
    its last state feeds the gate's head (sigmoid: alpha) and, joined with the centre slices, a second head.
    Joined logits: (1 - alpha) * main + alpha * attended (equation 7 of the paper).
    """

    def __init__(self, shape: NetworkShape | None = None, *, restructured: bool = False) -> None:
        super().__init__()
        shape = shape or NetworkShape()
        self.shape = shape
        wide, narrow = shape.head_maps
        self.trunk = DenseTrunk()
        self.main_head = SegmentationHead(
            UpsampledConvolution(DenseTrunk.out_maps, wide, restructured=restructured), CLASS_COUNT, (wide, narrow)
        )
        self.lstm = ConvLSTM(3, shape.lstm_maps)
        joined = shape.lstm_maps + CENTRE_SLICES
        self.attended_head = SegmentationHead(
            nn.Conv2d(joined, wide, 3, padding=1, bias=False), CLASS_COUNT, (wide, narrow)
        )
        self.gate_head = SegmentationHead(nn.Conv2d(shape.lstm_maps, wide, 3, padding=1, bias=False), 1, (wide, narrow))
        self.apply(initialise)

    @property
    def restructured(self) -> bool:
        """Whether the main head's first convolution runs at the low resolution."""
        first = self.main_head.first
        return isinstance(first, UpsampledConvolution) and first.restructured

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """Logits of both branches, the gate, and the joined logits, for ``(window, slice, row, column)``."""
        start = (self.shape.slices - CENTRE_SLICES) // 2
        centre = stack[:, start : start + CENTRE_SLICES]
        main = self.main_head(self.trunk(centre)).float()
        state = self.lstm(stack) if self.restructured else self.lstm.forward_as_written(stack)
        attended = self.attended_head(torch.cat((state, centre.to(state.dtype)), dim=1)).float()
        gate = torch.sigmoid(self.gate_head(state).float())
        return SegmentationOutput(torch.lerp(main, attended, gate.expand_as(main)), main, attended, gate)

    def forward(self, stack: Tensor) -> Tensor:
        """Joined logits ``(window, class, row, column)``."""
        return self.branches(stack).logits


def initialise(module: nn.Module) -> None:
    """Xavier initialisation (section 4.4 of the paper)."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameter_count(network: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
