"""Which network a shape is of."""

from analysis.model.lite_network import LiteNetwork
from analysis.model.network import ConvLstmNetwork, NetworkShape


def network_of(shape: NetworkShape) -> ConvLstmNetwork | LiteNetwork:
    """The network of this design and these sizes, freshly initialised, in the form that is fastest on a CPU."""
    if shape.design == "lite":
        return LiteNetwork(shape)
    return ConvLstmNetwork(shape, restructured=True)
