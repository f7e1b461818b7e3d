"""A small U-Net that tells the lobes of lungs that are cut off, at 7 mm, from their shape alone."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from analysis.anatomy.lobe_shape import LobeShape
from analysis.anatomy.unet import UNet, padded

GRID_MM = 7.0
"""Spacing of the grid on which lobes are told, the same in all directions."""

CLASS_COUNT = 5
"""Right upper, middle and lower, left upper and lower lobe: labels 4 to 8 in this order."""

INPUT_COUNT = 6
_NETWORK, _FORM = "network.", "form."


def network_inputs(
    right: npt.NDArray[np.float32], left: npt.NDArray[np.float32], imaged: npt.NDArray[np.bool_], *, stride: int
) -> npt.NDArray[np.float32]:
    """Channels for the network, (6, slice, row, column), padded to a multiple of the stride by what was not imaged.

    ``right`` and ``left`` (slice, row, column) hold the share of each voxel that is this lung; ``imaged`` (slice,) says
    which levels the scan holds. The other three channels place a voxel in the box of its own lung, -1 to 1 on each
    axis, 0 where there is no lung.
    """
    shape = right.shape
    places = np.zeros((3, *shape), np.float32)
    for lung, other in ((right, left), (left, right)):
        own = (lung > 0) & (lung >= other)
        for axis in range(3):
            occupied = np.flatnonzero(own.any(axis=tuple(item for item in range(3) if item != axis)))
            if not occupied.size:
                break
            low, high = int(occupied[0]), int(occupied[-1]) + 1
            place = ((np.arange(shape[axis]) + 0.5 - low) / (high - low) * 2 - 1).astype(np.float32)
            form = [1, 1, 1]
            form[axis] = -1
            np.copyto(places[axis], place.reshape(form), where=own)
    seen = np.broadcast_to(imaged[:, None, None], shape).astype(np.float32)
    return padded(np.concatenate([np.stack([right, left, seen]), places]), stride)


def side_logits(logits: torch.Tensor, right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Logits where a lobe of the other lung is out of the question; what is neither lung keeps all five."""
    none = (right + left) <= 0
    away = torch.where(none, 0.0, -30.0)
    not_right = torch.where(right > 0, 0.0, away)
    not_left = torch.where(left > 0, 0.0, away)
    return logits + torch.stack([not_right, not_right, not_right, not_left, not_left], dim=1)


def lobe_network(widths: tuple[int, ...]) -> UNet:
    """The network with its first, random weights."""
    return UNet(inputs=INPUT_COUNT, outputs=CLASS_COUNT, widths=widths, normalised=True)


def stored(network: UNet, form: LobeShape) -> dict[str, torch.Tensor]:
    """The tensors of a network and of the linear model beside it, by name."""
    return {
        **{f"{_NETWORK}{name}": value for name, value in network.state_dict().items()},
        **{f"{_FORM}{name}": torch.from_numpy(value) for name, value in form.arrays().items()},
    }


def build(state: Mapping[str, torch.Tensor], widths: tuple[int, ...]) -> tuple[UNet, LobeShape]:
    """The network and the linear model of these tensors, ready to be asked.

    Raises:
        KeyError, RuntimeError, ValueError: the tensors are not those of such a network and model.
    """
    network = lobe_network(widths)
    network.load_state_dict(_below(state, _NETWORK))
    return network.eval(), LobeShape.of({name: value.numpy() for name, value in _below(state, _FORM).items()})


def _below(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
