"""Batch normalisation folded into the convolution before it: the same output with fewer passes over the maps."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from analysis.model.lite_network import LiteNetwork
from analysis.model.lite_trunk import ConvNorm
from analysis.model.network import ConvLstmNetwork, DenseLayer, DenseTrunk, SegmentationHead


def folded(network: ConvLstmNetwork | LiteNetwork) -> ConvLstmNetwork | LiteNetwork:
    """The network itself, changed for inference only.

    Stays: the normalisation of the input of a dense layer, which no convolution precedes.
    """
    if network.training:
        raise ValueError("statistics of a batch cannot be folded: call eval() first")
    if isinstance(network.trunk, DenseTrunk):
        network.trunk[0], network.trunk[1] = _fused(network.trunk[0], network.trunk[1]), nn.Identity()
    for module in network.modules():
        if isinstance(module, DenseLayer):
            module.conv1, module.norm2 = _fused(module.conv1, module.norm2), nn.Identity()
        elif isinstance(module, ConvNorm):
            module[0], module[1] = _fused(module[0], module[1]), nn.Identity()
        elif isinstance(module, SegmentationHead):
            module.first, module.norm1 = _fused(module.first, module.norm1), nn.Identity()
            module.second, module.norm2 = _fused(module.second, module.norm2), nn.Identity()
    return network


def _fused(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError("a convolution and the batch normalisation that follows it")
    return fuse_conv_bn_eval(convolution, norm)
