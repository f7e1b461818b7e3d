"""The five lobes: estimated from the shape of the lungs, with borders moved to the fissures that the CT shows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from analysis.anatomy.border_surface import Axes
from analysis.anatomy.coarse import CoarseGrid
from analysis.anatomy.fissures import Border, Scene, on_fissures
from analysis.anatomy.lobe_shape import CUT_SHARE, SIDES, LobeShape
from analysis.anatomy.lungs import LEFT, RIGHT, Box, Lungs
from analysis.anatomy.slicewise import for_each_slice
from analysis.anatomy.weights import algorithm_of, package_directory, read_weights
from analysis.errors import UntrustedWeights
from analysis.findings import Algorithm, Lobe
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

LEAST_CONFIDENCE_PERCENT = 67.0
"""Confidence under which a lobe of a whole lung is not told: that of a toss-up between two lobes is two thirds."""

LEAST_CONFIDENCE_CUT_PERCENT = 87.0
"""Confidence under which a lobe of a lung that is cut off is not told.

On held-out maps cut in seven ways no lobe above it has a Dice under 0.6, given ``LEAST_BASE_MM``; below it two in five
have, the middle lobe almost always.
"""

LEAST_BASE_MM = 150.0
"""Height of the base of a lung that is cut off above, under which it may be all lower lobe: no other is told.

On held-out maps the network sees an upper lobe in such a base with confidence, and is wrong.
"""

_SIDES = {RIGHT: (4, 5, 6), LEFT: (7, 8)}
_LEAST_PROBABILITY = 1e-4
_BEYOND_MM = 140.0
"""How far the network is shown that nothing was imaged beyond the end of a scan, as in its training."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lobes:
    """Labels 4 to 8 of ``LOBE_LABELS`` on the grid of a volume, uint8 (slice, row, column); 0 where no lobe is told.

    ``confidence_percent`` is the Dice that the estimate expects of itself for each lobe that is told, in percent.
    ``cut`` are those of them of which the scan shows a part only, ``untold`` those not told although their lung is
    there. ``on_fissures`` are the borders that were moved to a fissure; the others are only estimated from the shape.
    """

    labels: Labels
    confidence_percent: Mapping[Lobe, float]
    cut: frozenset[Lobe]
    untold: frozenset[Lobe]
    on_fissures: frozenset[Border] = frozenset()

    @property
    def scorable(self) -> bool:
        """Severity scores need all five lobes, whole."""
        return set(self.confidence_percent) == set(Lobe) and not self.cut


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LobeModel:
    """The network that tells the lobes of cut lungs, the linear model of whole ones, their grid, and their name."""

    network: "UNet"
    form: LobeShape
    grid_mm: float
    algorithm: Algorithm

    @classmethod
    def load(cls, directory: Path | None = None) -> "LobeModel":
        """The model of a folder; default: the one that comes with the package.

        Raises:
            UntrustedWeights: the weights are missing or not the ones that the manifest names.
        """
        from analysis.anatomy.lobe_network import build

        manifest, state = read_weights(directory or package_directory("lobes"), WEIGHTS_NAME)
        try:
            widths, grid_mm = tuple(int(width) for width in manifest["widths"]), float(manifest["grid_mm"])
            network, form = build(state, widths)
            return cls(network=network, form=form, grid_mm=grid_mm, algorithm=algorithm_of(manifest))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UntrustedWeights("The manifest of the lobes does not fit their weights.") from error


def estimate_lobes(volume: Volume, lungs: Lungs, model: LobeModel) -> Lobes:
    """Estimate the lobes from the shape of both lungs on a coarse grid; borders run smoothly on the volume's own grid.

    Time: an interpolation of each slice, and one pass of a small network where a lung is cut off (a quarter of a second
    for 148 slices of 512 x 512 on two cores, and as much for the pass).
    """
    if lungs.box is None:
        labels = np.zeros(lungs.labels.shape, np.uint8)
        return Lobes(labels=labels, confidence_percent={}, cut=frozenset(), untold=frozenset())
    return tell_lobes(volume, lungs, model.network, model.form, model.grid_mm)


def tell_lobes(volume: Volume, lungs: Lungs, network: "UNet", form: LobeShape, grid_mm: float) -> Lobes:
    """Estimate the lobes by this network and linear model on a grid of this spacing; there is lung."""
    labels = np.zeros(lungs.labels.shape, np.uint8)
    box = lungs.box
    if box is None:
        raise ValueError("lobes are asked of a scan without lungs")
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
    margin = _margin(volume, grid, grid_mm)
    around = (margin, (1, 1), (1, 1))
    imaged = np.pad(np.ones(len(right), bool), margin, constant_values=False)
    if margin[0] == 1:
        imaged[0] = True
    if margin[1] == 1:
        imaged[-1] = True
    asked = _ask(network, form, np.pad(right, around), np.pad(left, around), imaged)
    probabilities = asked[:, margin[0] : margin[0] + len(right), 1:-1, 1:-1]
    seen = {side: _Seen.of(lungs.labels == side, volume.slice_positions_mm) for side in _SIDES}
    scene = Scene(volume=volume, sides=lungs.labels, axes=_axes(volume, grid, box), shares={RIGHT: right, LEFT: left})
    whole = [side for side, part in seen.items() if part.height_mm is not None and not part.ends]
    probabilities, moved = on_fissures(probabilities, scene, whole)
    _draw(labels[box], inside, grid, probabilities)
    return replace(_told(labels, _certainties(probabilities, right, left), seen), on_fissures=moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """How much of a lung the scan shows: at which ends, 0 and -1, it is cut off, and its height; None: no lung."""

    ends: list[int]
    height_mm: float | None

    @classmethod
    def of(cls, lung: npt.NDArray[np.bool_], positions_mm: npt.NDArray[np.float64]) -> "_Seen":
        area = np.count_nonzero(lung, axis=(1, 2))
        levels = positions_mm[area > 0]
        return cls(
            ends=[index for index in (0, -1) if area[index] > CUT_SHARE * area.max()],
            height_mm=float(levels[-1] - levels[0]) if levels.size else None,
        )


def _axes(volume: Volume, grid: CoarseGrid, box: Box) -> Axes:
    """Places in mm of the levels, rows and columns of a grid over a box of the volume."""
    rows, columns = (
        ((np.arange(count) + 0.5) * pixels / count - 0.5 + part.start) * spacing
        for count, pixels, part, spacing in zip(
            grid.shape,
            (grid.rows, grid.columns),
            box[1:],
            (volume.row_spacing_mm, volume.column_spacing_mm),
            strict=True,
        )
    )
    return grid.levels_mm, rows, columns


def _margin(volume: Volume, grid: CoarseGrid, grid_mm: float) -> tuple[int, int]:
    """Levels to add below and above the lungs: one where the scan goes on, many where it ends and so may the lungs."""
    half = volume.slice_weights_mm / 2
    below = volume.slice_positions_mm[0] - half[0] <= grid.levels_mm[0] - grid_mm
    above = volume.slice_positions_mm[-1] + half[-1] >= grid.levels_mm[-1] + grid_mm
    many = round(_BEYOND_MM / grid_mm)
    return 1 if below else many, 1 if above else many


def _ask(
    network: "UNet",
    form: LobeShape,
    right: npt.NDArray[np.float32],
    left: npt.NDArray[np.float32],
    imaged: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Probabilities (5, slice, row, column); within a lung its own lobes sum to 1.

    Of a whole lung the linear model tells them: on held-out maps it is the better, and the mean of both is no better
    than it. It says nothing of a lung that is cut off, which is the network's.
    """
    told = form.scores(right, left, imaged)
    cut = [
        (first, last)
        for (first, last), lung in zip(SIDES.values(), (right, left), strict=True)
        if lung.any() and not told[first:last].any()
    ]
    if cut:
        logits = _logits(network, right, left, imaged)
        for first, last in cut:
            told[first:last] = logits[first:last]
    for first, last in SIDES.values():
        told[first:last] = softmax(told[first:last], axis=0)
    return told


def _logits(
    network: "UNet",
    right: npt.NDArray[np.float32],
    left: npt.NDArray[np.float32],
    imaged: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    import torch

    from analysis.anatomy.lobe_network import network_inputs

    with torch.inference_mode():
        inputs = network_inputs(right, left, imaged, stride=network.stride)
        logits = network(torch.from_numpy(inputs)[None])[0].numpy()
    return logits[:, : right.shape[0], : right.shape[1], : right.shape[2]]


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
    """Expected Dice in percent of each lobe: where it is the likeliest, against where it may be."""
    found: dict[int, float] = {}
    for lung, members in ((right, _SIDES[RIGHT]), (left, _SIDES[LEFT])):
        own = probabilities[members[0] - 4 : members[-1] - 3]
        best = own.argmax(axis=0)
        shares = lung * own / np.maximum(own.sum(axis=0), _LEAST_PROBABILITY)
        for place, label in enumerate(members):
            chosen = best == place
            total = float((lung * chosen).sum()) + float(shares[place].sum())
            found[label] = 200.0 * float((shares[place] * chosen).sum()) / total if total else 0.0
    return found


def _told(labels: Labels, certainties: Mapping[int, float], seen: "Mapping[int, _Seen]") -> Lobes:
    confidence: dict[Lobe, float] = {}
    cut: set[Lobe] = set()
    untold: set[Lobe] = set()
    refused = np.zeros(9, bool)
    for side, members in _SIDES.items():
        ends, height_mm = seen[side].ends, seen[side].height_mm
        if height_mm is None:
            continue
        least = LEAST_CONFIDENCE_CUT_PERCENT if ends else LEAST_CONFIDENCE_PERCENT
        base = ends == [-1] and height_mm < LEAST_BASE_MM
        for label in members:
            lobe = LOBE_LABELS[label]
            if certainties[label] < least or (base and label != members[-1]):
                untold.add(lobe)
                refused[label] = True
                continue
            confidence[lobe] = certainties[label]
            if any((labels[index] == label).any() for index in ends):
                cut.add(lobe)
    if refused.any():
        labels = np.where(refused[labels], np.uint8(0), labels)
    return Lobes(labels=labels, confidence_percent=confidence, cut=frozenset(cut), untold=frozenset(untold))
