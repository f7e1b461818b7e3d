"""Which network a shape is of."""

from analysis.model.compact_network import CompactNetwork
from analysis.model.network import ConvLstmNetwork, NetworkShape


def network_of(shape: NetworkShape) -> ConvLstmNetwork | CompactNetwork:
    """The network of this design and these sizes, freshly initialised, in the form that is fastest on a CPU."""
    if shape.design == "compact":
        return CompactNetwork(shape)
    return ConvLstmNetwork(shape, restructured=True)
