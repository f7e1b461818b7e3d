"""Right and left lung: told by a small network, drawn on the grid of the volume, checked by a classical method."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.air import Grid
from analysis.anatomy.classical import ClassicalLungs, classical_lungs
from analysis.anatomy.lung_field import LEAST_ML, LEAST_SHARE, Border, LungField, tell_lungs
from analysis.anatomy.sides import LEFT, RIGHT, Labels
from analysis.anatomy.slicewise import for_each_slice
from analysis.anatomy.weights import algorithm_of, package_directory, read_weights
from analysis.errors import UntrustedWeights
from analysis.findings import Algorithm
from analysis.series.volume import Volume

if TYPE_CHECKING:
    from analysis.anatomy.unet import UNet  # torch takes seconds to load; only an analysis needs it

__all__ = ["LEFT", "RIGHT", "LungModel", "Lungs", "segment_lungs"]

Box = tuple[slice, slice, slice]

WORKING_SPACING_MM = 1.6
"""In-plane spacing of the grid on which borders are drawn: fine enough for pleura, coarse enough to be quick."""

WEIGHTS_NAME = "lungs.safetensors"
_TRUSTED_DICE = 0.7
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lungs:
    """Labels on the grid of a volume: uint8 (slice, row, column), 0 elsewhere, 1 right lung, 2 left lung.

    ``agreement`` is the Dice of the network's lungs and those of the classical method; None where neither found any.
    ``hidden``, bool, marks the lung that neither found and that its place tells; None where there is none.
    """

    labels: npt.NDArray[np.uint8]
    agreement: float | None = None
    hidden: npt.NDArray[np.bool_] | None = None
    box: Box | None = field(init=False)
    """Smallest box that holds both lungs; None where there is no lung."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", _box(self.labels))

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Both lungs as bool (slice, row, column)."""
        return self.labels > 0

    @property
    def seen(self) -> "Lungs":
        """The lungs without what is hidden."""
        if self.hidden is None:
            return self
        return Lungs(labels=np.where(self.hidden, np.uint8(0), self.labels), agreement=self.agreement)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungModel:
    """The network that tells lung, how its border is drawn, and its name."""

    network: "UNet"
    border: Border
    algorithm: Algorithm

    @classmethod
    def load(cls, directory: Path | None = None) -> "LungModel":
        """The model of a folder; default: the one that comes with the package.

        Raises:
            UntrustedWeights: the weights are missing or not the ones that the manifest names.
        """
        from analysis.anatomy.lung_network import build

        manifest, state = read_weights(directory or package_directory("lungs"), WEIGHTS_NAME)
        try:
            widths = tuple(int(width) for width in manifest["widths"])
            border = Border(**{name: float(value) for name, value in manifest["border"].items()})
            return cls(network=build(state, widths), border=border, algorithm=algorithm_of(manifest))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UntrustedWeights("The manifest of the lungs does not fit their weights.") from error


def segment_lungs(volume: Volume, model: LungModel, *, valid: npt.NDArray[np.bool_] | None = None) -> Lungs:
    """Find the lungs, consolidated parts included, airways and bowel gas left out; empty where there are none.

    A network at 5 mm says what looks like lung; where its border runs is settled by its certainty, by how aerated the
    place is and by a classical method. ``agreement`` tells how alike the outcome and the classical lungs are; where
    they differ widely and lung is missing, the classical ones are taken. ``valid`` (slice, row, column) marks what was
    imaged at all, for images that were cropped. Time grows with the voxels; memory is that of the labels, of the
    working grid (a dozen bytes for each of its voxels) and 0.5 GB at most for the network. The same input gives the
    same labels.
    """
    grid = working_grid(volume, valid)
    classical = classical_lungs(grid)
    field = tell_lungs(model.network, grid, volume.slice_positions_mm, classical)
    labels = draw_lungs(field, grid, model.border, volume.hu.shape)
    told = np.stack([_resized(labels[index], classical.labels.shape[1:]) for index in classical.indices])
    found = np.count_nonzero(told), np.count_nonzero(classical.labels)
    if not any(found):
        return Lungs(labels=labels)
    agreement = 2 * np.count_nonzero((told > 0) & (classical.labels > 0)) / sum(found)
    if agreement < _TRUSTED_DICE and found[1] > found[0]:
        labels = _on_grid_of(volume, classical)
    return Lungs(labels=labels, agreement=float(agreement))


def working_grid(volume: Volume, valid: npt.NDArray[np.bool_] | None = None) -> Grid:
    """Average blocks of pixels to about 1.6 mm and smooth them a little; what is not valid becomes water."""
    factor = max(1, round(WORKING_SPACING_MM / max(volume.row_spacing_mm, volume.column_spacing_mm)))
    count, rows, columns = volume.hu.shape
    reduced = np.empty((count, -(-rows // factor), -(-columns // factor)), np.float32)

    def reduce(index: int) -> None:
        pixels = volume.hu[index] if valid is None else np.where(valid[index], volume.hu[index], np.int16(0))
        size = (reduced.shape[2], reduced.shape[1])
        small = pixels if factor == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        cv2.GaussianBlur(small.astype(np.float32), (3, 3), _HALF, dst=reduced[index])

    for_each_slice(reduce, count)
    return Grid(
        hu=reduced,
        slice_mm=volume.slice_spacing_mm,
        row_mm=volume.row_spacing_mm * rows / reduced.shape[1],
        column_mm=volume.column_spacing_mm * columns / reduced.shape[2],
    )


def draw_lungs(field: LungField, grid: Grid, border: Border, shape: tuple[int, ...]) -> Labels:
    """Draw the border slice by slice on the working grid, and bring it smoothly to the pixels of the volume."""
    scores = np.full(grid.hu.shape, -1, np.float32)
    doubted = np.zeros(grid.hu.shape, bool)
    labels = np.zeros(shape, np.uint8)
    size = (shape[2], shape[1])

    def score(index: int) -> None:
        logit = field.logit(index)
        if float(logit.max()) * border.network + border.air + border.classical + border.offset <= 0:
            return
        said = field.said(index)
        scores[index] = border.score(logit, grid.hu[index], said)
        doubted[index] = said <= 0

    def draw(index: int) -> None:
        if float(scores[index].max()) <= 0:
            return
        lung = cv2.resize(scores[index], size, interpolation=cv2.INTER_LINEAR) > 0
        np.multiply(_resized(field.sides(index), shape[1:]), lung, out=labels[index])

    for_each_slice(score, len(labels))
    _leave_out_apart(scores, doubted, grid.voxel_ml)
    for_each_slice(draw, len(labels))
    return labels


def _leave_out_apart(scores: npt.NDArray[np.float32], doubted: npt.NDArray[np.bool_], voxel_ml: float) -> None:
    """Lower, in place, what is drawn apart from the lungs, small, and not lung to the classical method: bowel gas."""
    pieces = cc3d.connected_components(scores > 0, connectivity=6)
    found = cc3d.statistics(pieces)
    voxels = found["voxel_counts"].astype(np.int64)
    voxels[0] = 0
    small = (voxels < LEAST_SHARE * voxels.max()) & (voxels * voxel_ml < LEAST_ML)
    for label in np.flatnonzero(small[1:]) + 1:
        box = found["bounding_boxes"][label]
        piece = pieces[box] == label
        if doubted[box][piece].mean() > _HALF:
            scores[box][piece] = -1


def _on_grid_of(volume: Volume, classical: ClassicalLungs) -> Labels:
    """The classical labels on the grid of the volume; a slice takes those of the nearest that was looked at."""
    nearest = np.abs(np.arange(len(volume.hu))[:, None] - classical.indices[None]).argmin(axis=1)
    labels = np.zeros(volume.hu.shape, np.uint8)
    _, rows, columns = volume.hu.shape
    size = (columns, rows)
    for index, source in enumerate(nearest):
        for label in (RIGHT, LEFT):
            share = (classical.labels[source] == label).astype(np.float32)
            labels[index][cv2.resize(share, size, interpolation=cv2.INTER_LINEAR) > _HALF] = label
    return labels


def _resized(plane: Labels, shape: tuple[int, ...]) -> Labels:
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


def _box(labels: Labels) -> Box | None:
    plane = labels.max(axis=0)
    if not plane.any():
        return None
    slices, rows, columns = (
        np.flatnonzero(found) for found in (labels.max(axis=(1, 2)), plane.max(axis=1), plane.max(axis=0))
    )
    return (
        slice(int(slices[0]), int(slices[-1]) + 1),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )
