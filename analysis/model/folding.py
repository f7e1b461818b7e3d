"""Batch normalisation folded into the convolution before it: the same output with fewer passes over the maps."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from analysis.model.network import ConvLstmNetwork, DenseLayer, SegmentationHead


def folded(network: ConvLstmNetwork) -> ConvLstmNetwork:
    """The network itself, changed for inference only.

    Stays: the normalisation of a dense layer's input, which no convolution precedes.
    """
    if network.training:
        raise ValueError("statistics of a batch cannot be folded: call eval() first")
    trunk = network.trunk
    trunk[0], trunk[1] = _fused(trunk[0], trunk[1]), nn.Identity()
    for layer in trunk:
        if isinstance(layer, DenseLayer):
            layer.conv1, layer.norm2 = _fused(layer.conv1, layer.norm2), nn.Identity()
    for head in (network.main_head, network.attended_head, network.gate_head):
        _fold_head(head)
    return network


def _fold_head(head: SegmentationHead) -> None:
    head.first, head.norm1 = _fused(head.first, head.norm1), nn.Identity()
    head.second, head.norm2 = _fused(head.second, head.norm2), nn.Identity()


def _fused(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError("a convolution and the batch normalisation that follows it")
    return fuse_conv_bn_eval(convolution, norm)
