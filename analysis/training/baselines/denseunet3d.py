"""The 3D DenseUNet with anisotropic kernels of Chaganti et al. 2020 (Radiology: AI 2:e200048), appendix E1.

From the paper: a first 1x3x3 convolution with batch normalisation and leaky ReLU; five dense blocks (Huang et al.
2017), each on maps that a strided convolution has halved, the first two by 1x2x2, the last three by 2x2x2; decoder
blocks on the encoder's maps of the same resolution joined with those that a transposed convolution of the same size and
stride brings up; kernels of 1x3x3 or 3x3x3; a last projection to the classes and softmax.

Chosen here, because the text does not say it: 3x3x3 kernels where slices are halved too and 1x3x3 elsewhere; four
layers of 16 new maps a dense block; the widths; one convolution a decoder block. Other than there: three classes in
place of two; a window of the harness in place of a volume of 384x384x384, so that only the centre slice is labelled.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.model.network import CLASS_COUNT, SegmentationOutput

_Steps = tuple[int, int, int]
_IN_PLANE: _Steps = (1, 2, 2)
_ISOTROPIC: _Steps = (2, 2, 2)
_HALVINGS = (_IN_PLANE, _IN_PLANE, _ISOTROPIC, _ISOTROPIC, _ISOTROPIC)
_DEPTH_STEP = 8  # three isotropic halvings
_STEM_MAPS = 24
_WIDTHS = (32, 64, 96, 128, 160)
_GROWTH = 16
_LAYERS = 4
_LEAK = 0.01


def _kernel(halving: _Steps) -> _Steps:
    return (3, 3, 3) if halving == _ISOTROPIC else (1, 3, 3)


def _same(in_maps: int, out_maps: int, kernel: _Steps) -> nn.Conv3d:
    """A convolution that keeps the size."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(in_maps, out_maps, kernel, padding=padding, bias=False)


def _convolution(in_maps: int, out_maps: int, kernel: _Steps) -> nn.Sequential:
    return nn.Sequential(_same(in_maps, out_maps, kernel), nn.BatchNorm3d(out_maps), nn.LeakyReLU(_LEAK, inplace=True))


class _DenseBlock(nn.Module):
    """Halves the maps, then layers that each append their new maps to all that they were given."""

    def __init__(self, in_maps: int, width: int, halving: _Steps) -> None:
        super().__init__()
        self.down = nn.Conv3d(in_maps, width, halving, stride=halving, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm3d(width + k * _GROWTH),
                nn.LeakyReLU(_LEAK),
                _same(width + k * _GROWTH, _GROWTH, _kernel(halving)),
            )
            for k in range(_LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(window, map, slice, row, column)``, halved along the axes of this block."""
        x = self.down(x)
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return x


class _Decoder(nn.Module):
    """Brings maps up to the encoder's resolution, joins both, and convolves."""

    def __init__(self, in_maps: int, skipped_maps: int, out_maps: int, halving: _Steps) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_maps, out_maps, halving, stride=halving, bias=False)
        self.block = _convolution(out_maps + skipped_maps, out_maps, _kernel(halving))

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        """Maps at the resolution of the encoder's."""
        return self.block(torch.cat((skipped, self.up(x)), dim=1))


class DenseUNet3D(nn.Module):
    """The DenseUNet on the slices of a window as depth; a window is filled up to eight slices by its last one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(1, _STEM_MAPS, (1, 3, 3))
        maps = [_STEM_MAPS, *(width + _LAYERS * _GROWTH for width in _WIDTHS)]
        self.encoders = nn.ModuleList(
            _DenseBlock(maps[k], width, halving)
            for k, (width, halving) in enumerate(zip(_WIDTHS, _HALVINGS, strict=True))
        )
        out_maps = (_STEM_MAPS, *_WIDTHS)
        in_maps = (*out_maps[1:-1], maps[-1])
        self.decoders = nn.ModuleList(
            _Decoder(in_maps[k], maps[k], out_maps[k], _HALVINGS[k]) for k in reversed(range(len(_WIDTHS)))
        )
        self.last = nn.Conv3d(_STEM_MAPS, CLASS_COUNT, 1)

    def forward(self, stack: Tensor) -> Tensor:
        """Logits ``(window, class, row, column)`` for ``(window, slice, row, column)``; sides divisible by 32."""
        slices = stack.shape[1]
        x = functional.pad(stack.unsqueeze(1).contiguous(), (0, 0, 0, 0, 0, -slices % _DEPTH_STEP), mode="replicate")
        kept: list[Tensor] = []
        x = self.stem(x)
        for encoder in self.encoders:
            kept.append(x)
            x = encoder(x)
        for decoder in self.decoders:
            x = decoder(x, kept.pop())
        return self.last(x)[:, :, slices // 2].float()

    def branches(self, stack: Tensor) -> SegmentationOutput:
        """The logits, in the harness's form: a single branch, so no gate is open."""
        logits = self(stack)
        return SegmentationOutput(logits, logits, logits, torch.zeros_like(logits[:, :1]))
