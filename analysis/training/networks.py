"""The network that a recipe names."""

from torch import nn

from analysis.model.lite_network import LiteNetwork
from analysis.model.network import ConvLstmNetwork, NetworkShape
from analysis.training.baselines import ConvLstm2021, DenseUNet3D, UNet2D, UNet3D
from analysis.training.imagenet import begin_with_imagenet
from analysis.training.recipes import NetworkRecipe


def build_network(recipe: NetworkRecipe) -> nn.Module:
    """The network of a recipe, freshly initialised from torch's global seed, its trunk perhaps from ImageNet.

    It takes windows ``(window, slice, row, column)`` of ``recipe.slices`` slices; its ``branches`` are what the loss is
    of (:class:`~analysis.model.network.SegmentationOutput`).

    Raises:
        NoImageNetWeights: the recipe begins with them, and they are not installed.
    """
    match recipe.kind:
        case "lite":
            network = LiteNetwork(network_shape(recipe))
            if recipe.imagenet:
                begin_with_imagenet(network.trunk)
            return network
        case "convlstm2021":
            return ConvLstm2021(network_shape(recipe), restructured=recipe.restructured)
        case "unet2d":
            return UNet2D(recipe.slices)
        case "unet3d":
            return UNet3D()
        case "denseunet3d":
            return DenseUNet3D()
        case _:
            return ConvLstmNetwork(network_shape(recipe), restructured=recipe.restructured)


def network_shape(recipe: NetworkRecipe) -> NetworkShape:
    """The sizes of a ConvLSTM network, as the manifest of a model has them."""
    return NetworkShape(
        design="lite" if recipe.kind == "lite" else "paper",
        slices=recipe.slices,
        lstm_maps=recipe.lstm_maps,
        head_maps=recipe.head_maps,
    )
