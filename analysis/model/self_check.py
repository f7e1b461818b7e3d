"""Whether a model folder can be trusted and run: hash, strict loading, and a look at a phantom.

The phantom tells that the model computes, not that it is good: that is what its evaluation is for.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from analysis.errors import UntrustedWeights
from analysis.findings import Profile
from analysis.model.segmenter import Segmenter
from analysis.model.weights import Manifest, read_weights

__all__ = ["SelfCheck", "phantom", "self_check"]

_SLICES, _SIZE = 3, 192
_SPACING_MM = 3.0
_LUNG_HU, _LESION_HU, _BODY_HU = -850.0, -500.0, 40.0
_TEXTURE_HU = 25.0
_VESSELS = 60
_EDGE_PX = 2.0
_FACTOR = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """A model that passed, and the share of the phantom's lung that it calls opacity, with the true one."""

    manifest: Manifest
    opacity_percent: float
    true_opacity_percent: float

    @property
    def sees_opacity(self) -> bool:
        """Whether what it calls opacity is of the order of what there is; else it computes, and sees nothing."""
        return self.true_opacity_percent / _FACTOR <= self.opacity_percent <= self.true_opacity_percent * _FACTOR

    @property
    def doubt(self) -> str | None:
        """What the phantom speaks against; a model that was made for something else may fail it and be good."""
        if self.sees_opacity:
            return None
        return (
            f"calls {self.opacity_percent:.1f} % of a phantom's lung opacity, of which "
            f"{self.true_opacity_percent:.1f} % is"
        )


def self_check(directory: Path, *, device: str = "cpu") -> SelfCheck:
    """Read the weights against their hash, load them strictly, and segment a phantom twice.

    Raises:
        UntrustedWeights: what is wrong.
        ValueError: the device is not on this machine.
    """
    manifest, state = read_weights(directory)
    broken = sorted(name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all()))
    if broken:
        raise UntrustedWeights(f"{len(broken)} tensors hold values that are no numbers, {broken[0]} among them.")
    segmenter = Segmenter.load(directory, device=device)
    hu, lung, lesion = phantom()
    first, second = (
        segmenter.segment(hu, lung, slice_spacing_mm=_SPACING_MM, profile=Profile.CHEST_CT) for _ in range(2)
    )
    if not np.array_equal(first, second):
        raise UntrustedWeights("The same images gave two results.")
    return SelfCheck(
        manifest=manifest,
        opacity_percent=100.0 * float((first > 0).sum() / lung.sum()),
        true_opacity_percent=100.0 * float(lesion.sum() / lung.sum()),
    )


def phantom() -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.bool_]]:
    """A chest in three slices, with vessels and an opacity below the pleura: HU, lung and lesion, always the same.

    ``(slice, row, column)``. The opacity lies where those of pneumonia mostly do: a network may rightly take an even
    disc in the middle of a lung for something else.
    """
    rows, columns = np.mgrid[:_SIZE, :_SIZE] / _SIZE

    def disc(row: float, column: float, height: float, width: float) -> NDArray[np.bool_]:
        return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1

    lung = disc(0.5, 0.3, 0.3, 0.15) | disc(0.5, 0.7, 0.3, 0.15)
    lesion = disc(0.62, 0.2, 0.1, 0.09) & lung
    random = np.random.default_rng(0)
    share = cv2.GaussianBlur(lesion.astype(np.float32), (0, 0), _EDGE_PX)
    inside = _LUNG_HU + (_LESION_HU - _LUNG_HU) * share
    plane = np.select([lung, disc(0.5, 0.5, 0.42, 0.47)], [inside, _BODY_HU], -1000.0)
    for row, column in random.integers(0, _SIZE, (_VESSELS, 2)).tolist():
        if lung[row, column]:
            cv2.circle(plane, (column, row), 1, _BODY_HU, -1)
    texture = random.normal(0.0, _TEXTURE_HU, (_SLICES, *plane.shape))
    hu = np.rint(cv2.GaussianBlur(plane, (0, 0), 0.7) + texture).astype(np.int16)
    return hu, np.broadcast_to(lung, hu.shape), np.broadcast_to(lesion, hu.shape)
