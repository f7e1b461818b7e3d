"""A model whose output is a known function of HU."""

import pytest
import torch

from analysis.model.network import NetworkShape
from analysis.model.segmenter import Segmenter
from analysis.model.weights import Manifest, TrainingSummary

MEAN_HU, SD_HU = -700.0, 200.0
GGO_ABOVE_HU, HIGH_ABOVE_HU = -600.0, -100.0


class ThresholdNetwork(torch.nn.Module):
    """Logits of the centre slice by density; remembers the windows that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, stack: torch.Tensor) -> torch.Tensor:
        """Ten for the class, nothing for the others."""
        self.seen.append(stack.clone())
        hu = stack[:, stack.shape[1] // 2] * SD_HU + MEAN_HU
        high = hu > HIGH_ABOVE_HU
        ggo = (hu > GGO_ABOVE_HU) & ~high
        return 10.0 * torch.stack((~(ggo | high), ggo, high), dim=1).float()


@pytest.fixture
def make_manifest():
    """Build a manifest; keywords replace its values."""

    def build(**changes):
        values = {
            "name": "stub",
            "version": "1.2.3",
            "sha256": "0" * 64,
            "network": NetworkShape(lstm_maps=2, head_maps=(4, 4)),
            "mean_hu": MEAN_HU,
            "sd_hu": SD_HU,
            "window_size": 64,
            "training": TrainingSummary(recipe="none", data=(), fold="0", steps=0, seconds=0.0),
        }
        return Manifest(**(values | changes))

    return build


@pytest.fixture
def network():
    """A network that thresholds."""
    return ThresholdNetwork()


@pytest.fixture
def segmenter(network, make_manifest):
    """A segmenter with the network that thresholds."""
    return Segmenter(network, make_manifest(), device=torch.device("cpu"))
