"""The five lobes, estimated from the shape of the lungs; fissures are not looked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.anatomy.coarse import CoarseGrid
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.anatomy.slicewise import for_each_slice
from analysis.anatomy.weights import package_directory, read_weights
from analysis.errors import UntrustedWeights
from analysis.findings import Lobe
from analysis.series.volume import Volume

if TYPE_CHECKING:
    from analysis.anatomy.unet import UNet  # torch takes seconds to load; only an analysis needs it

Labels = npt.NDArray[np.uint8]

LOBE_LABELS: Mapping[int, Lobe] = {
    4: Lobe.RIGHT_UPPER,
    5: Lobe.RIGHT_MIDDLE,
    6: Lobe.RIGHT_LOWER,
    7: Lobe.LEFT_UPPER,
    8: Lobe.LEFT_LOWER,
}

WEIGHTS_NAME = "lobes.safetensors"

LEAST_CONFIDENCE_PERCENT = 65.0
"""Mean certainty of the network in a lobe's voxels under which the lobe is not told."""

_CUT_SHARE = 0.1
"""A lung is cut off where the first or last slice holds more than this share of its largest area."""
_SIDES = {RIGHT: (4, 5, 6), LEFT: (7, 8)}
_LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lobes:
    """Labels 4 to 8 of ``LOBE_LABELS`` on the grid of a volume, uint8 (slice, row, column); 0 where no lobe is told.

    ``confidence_percent`` is the mean certainty of the estimate in each lobe that is told. ``cut`` are those of them of
    which the scan shows a part only, ``untold`` those that are not told although their lung is there.
    """

    labels: Labels
    confidence_percent: Mapping[Lobe, float]
    cut: frozenset[Lobe]
    untold: frozenset[Lobe]

    @property
    def scorable(self) -> bool:
        """Severity scores need all five lobes, whole."""
        return set(self.confidence_percent) == set(Lobe) and not self.cut


def estimate_lobes(volume: Volume, lungs: Lungs, *, directory: Path | None = None) -> Lobes:
    """Estimate the lobes from the shape of both lungs on a coarse grid; borders run smoothly on the volume's own grid.

    Time: one pass of a small network, and an interpolation of each slice (a quarter of a second for 148 slices of
    512 x 512 on two cores). ``directory`` holds weights and manifest; default: those of the package.

    Raises:
        UntrustedWeights: the weights are missing or not the ones that the manifest names.
    """
    labels = np.zeros(lungs.labels.shape, np.uint8)
    box = lungs.box
    if box is None:
        return Lobes(labels=labels, confidence_percent={}, cut=frozenset(), untold=frozenset())
    network, grid_mm = _load(directory or package_directory("lobes"))
    grid = CoarseGrid.over(
        volume.slice_positions_mm[box[0]],
        (box[1].stop - box[1].start, box[2].stop - box[2].start),
        (volume.row_spacing_mm, volume.column_spacing_mm),
        grid_mm,
    )
    inside = lungs.labels[box]
    right, left = (
        grid.gather((plane == side) * np.uint8(255) for plane in inside) / np.float32(255) for side in (RIGHT, LEFT)
    )
    probabilities = _within(_ask(network, *_with_margin(volume, grid, right, left, grid_mm)))
    _draw(labels[box], inside, grid, probabilities)
    return _told(labels, _certainties(probabilities, right, left), lungs)


def _with_margin(
    volume: Volume,
    grid: CoarseGrid,
    right: npt.NDArray[np.float32],
    left: npt.NDArray[np.float32],
    grid_mm: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Both lungs with one voxel more all around, and which levels were imaged: a lung may end, or be cut off."""
    half = volume.slice_weights_mm / 2
    imaged = np.ones(len(right) + 2, bool)
    imaged[0] = volume.slice_positions_mm[0] - half[0] <= grid.levels_mm[0] - grid_mm
    imaged[-1] = volume.slice_positions_mm[-1] + half[-1] >= grid.levels_mm[-1] + grid_mm
    return np.pad(right, 1), np.pad(left, 1), imaged


def _within(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return probabilities[:, 1:-1, 1:-1, 1:-1]


def _ask(
    network: "UNet",
    right: npt.NDArray[np.float32],
    left: npt.NDArray[np.float32],
    imaged: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Probabilities (5, slice, row, column); within a lung its own lobes sum to 1."""
    import torch  # noqa: PLC0415 - see the top

    from analysis.anatomy.lobe_network import network_inputs  # noqa: PLC0415 - see the top

    with torch.inference_mode():
        inputs = network_inputs(right, left, imaged, stride=network.stride)
        logits = network(torch.from_numpy(inputs)[None])[0]
        parts = [torch.softmax(logits[:3], 0), torch.softmax(logits[3:], 0)]
        return torch.cat(parts)[:, : right.shape[0], : right.shape[1], : right.shape[2]].numpy()


def _draw(labels: Labels, sides: Labels, grid: CoarseGrid, probabilities: npt.NDArray[np.float32]) -> None:
    """Label, in place, each voxel of a lung with the likeliest of its lobes, (slice, row, column) within the box."""
    told = np.log(np.maximum(probabilities, _LEAST_PROBABILITY))
    upper, middle, lower, left_upper, left_lower = told
    against = (upper - middle, upper - lower, middle - lower, left_upper - left_lower)

    def draw(index: int) -> None:
        own = sides[index]
        if not own.any():
            return
        no_middle, no_lower, middle_over_lower, left = (grid.enlarged(grid.level(item, index)) > 0 for item in against)
        right_lobe = np.where(no_middle & no_lower, np.uint8(4), np.uint8(6) - middle_over_lower.astype(np.uint8))
        left_lobe = np.uint8(8) - left.astype(np.uint8)
        labels[index] = np.where(own == RIGHT, right_lobe, np.where(own == LEFT, left_lobe, np.uint8(0)))

    for_each_slice(draw, len(labels))


def _certainties(
    probabilities: npt.NDArray[np.float32], right: npt.NDArray[np.float32], left: npt.NDArray[np.float32]
) -> Mapping[int, float]:
    """Mean certainty in percent of each lobe, over the volume where it is the likeliest."""
    found: dict[int, float] = {}
    for lung, members in ((right, _SIDES[RIGHT]), (left, _SIDES[LEFT])):
        own = probabilities[members[0] - 4 : members[-1] - 3]
        best = own.argmax(axis=0)
        certainty = own.max(axis=0) / np.maximum(own.sum(axis=0), _LEAST_PROBABILITY)
        for place, label in enumerate(members):
            weight = lung * (best == place)
            total = float(weight.sum())
            found[label] = 100.0 * float((weight * certainty).sum()) / total if total else 0.0
    return found


def _told(labels: Labels, certainties: Mapping[int, float], lungs: Lungs) -> Lobes:
    confidence: dict[Lobe, float] = {}
    cut: set[Lobe] = set()
    untold: set[Lobe] = set()
    refused = np.zeros(9, bool)
    for side, members in _SIDES.items():
        area = np.count_nonzero(lungs.labels == side, axis=(1, 2))
        if not area.any():
            continue
        ends = [index for index in (0, -1) if area[index] > _CUT_SHARE * area.max()]
        for label in members:
            lobe = LOBE_LABELS[label]
            if certainties[label] < LEAST_CONFIDENCE_PERCENT:
                untold.add(lobe)
                refused[label] = True
                continue
            confidence[lobe] = certainties[label]
            if any((labels[index] == label).any() for index in ends):
                cut.add(lobe)
    if refused.any():
        labels = np.where(refused[labels], np.uint8(0), labels)
    return Lobes(labels=labels, confidence_percent=confidence, cut=frozenset(cut), untold=frozenset(untold))


@cache
def _load(directory: Path) -> "tuple[UNet, float]":
    """Read the network of a folder, if its weights are those that the manifest names; also its grid in mm."""
    from analysis.anatomy.lobe_network import build  # noqa: PLC0415 - see the top

    manifest, state = read_weights(directory, WEIGHTS_NAME)
    try:
        widths, grid_mm = tuple(int(width) for width in manifest["widths"]), float(manifest["grid_mm"])
        return build(state, widths), grid_mm
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UntrustedWeights("The manifest of the lobes does not fit their weights.") from error
