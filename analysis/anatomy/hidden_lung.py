"""Dense lung where a lung was not found: its place, told by the other lung and the ribs.

Wholly opaque lung looks like chest wall to who looks for air, so that neither network nor classical method finds it.
Where it lies is known all the same: beside the other lung, as in 41 whole chests, and within the ribs of this one.
"""

from dataclasses import dataclass
from pathlib import Path

import cc3d
import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, binary_opening, map_coordinates, minimum_filter, uniform_filter

from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.anatomy.place_frame import SAMPLES, Field, PlaceFrame
from analysis.anatomy.weights import algorithm_of, package_directory, read_weights
from analysis.errors import UntrustedWeights
from analysis.findings import Algorithm
from analysis.series.volume import Volume

Mask = npt.NDArray[np.bool_]

WEIGHTS_NAME = "places.safetensors"
GRID_MM = 4.0
"""In-plane spacing of the grid on which the place is told; slices stay as they are."""

LIKELY, POSSIBLE = 0.4, 0.12
"""Share of chests in which a place is lung: taken to be lung, and taken where ribs bound it to the side."""

_SOFT_HU = (-150.0, 150.0)
_BONE_HU, _CORTEX_HU = 200.0, 220.0
_DRAWN_OVER_MM = 20.0
"""The other lung ends up to 8 mm beyond the middle of the bones in controls; further, the mediastinum is drawn over."""
_SECTORS, _RAY_STEP_MM, _RAY_MM, _FIRST_BONE_MM = 180, 2.0, 220.0, 20.0
_BETWEEN_RIBS_MM = 12.0
_LEAST_ML, _LEAST_SHARE = 20.0, 0.1
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaceModel:
    """In how many whole chests a place beside the other lung is lung: ``right`` and ``left`` float32 ``SAMPLES``."""

    right: Field
    left: Field
    algorithm: Algorithm

    @classmethod
    def load(cls, directory: Path | None = None) -> "PlaceModel":
        """The model of a folder; default: the one that comes with the package.

        Raises:
            UntrustedWeights: the weights are missing or not the ones that the manifest names.
        """
        manifest, state = read_weights(directory or package_directory("places"), WEIGHTS_NAME)
        try:
            right, left = (state[name].float().numpy().reshape(SAMPLES) for name in ("right", "left"))
            return cls(right=right, left=left, algorithm=algorithm_of(manifest))
        except (KeyError, ValueError, AttributeError) as error:
            raise UntrustedWeights("The manifest of the places does not fit their weights.") from error


def find_hidden_lung(volume: Volume, lungs: Lungs, side: int, model: PlaceModel) -> Mask:
    """Soft tissue where the lung ``side`` (RIGHT or LEFT) belongs and was not found, bool (slice, row, column).

    Empty where the other lung was not found, or reaches far beyond the middle: then the mediastinum is drawn over, and
    the lung is collapsed or removed rather than opaque. Time grows with the slices; memory is that of the mask and a
    few dozen bytes for each voxel of the grid.
    """
    found = np.zeros(volume.hu.shape, bool)
    factor = max(1, round(GRID_MM / max(volume.row_spacing_mm, volume.column_spacing_mm)))
    size = (-(-volume.hu.shape[2] // factor), -(-volume.hu.shape[1] // factor))
    hu = np.stack([cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_AREA) for plane in volume.hu])
    labels = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in lungs.labels])
    axes_mm = (
        volume.slice_positions_mm,
        np.arange(size[1]) * (volume.row_spacing_mm * volume.hu.shape[1] / size[1]),
        np.arange(size[0]) * (volume.column_spacing_mm * volume.hu.shape[2] / size[0]),
    )
    other = _largest_piece(labels == (LEFT if side == RIGHT else RIGHT))
    if not other.any():
        return found
    frame = PlaceFrame.beside(other, axes_mm, towards=1 if side == LEFT else -1)
    bone = hu > _BONE_HU
    levels = other.any(axis=(1, 2))
    if not bone[levels].any():
        return found
    middle_mm = float(np.median(axes_mm[2][np.nonzero(bone[levels])[2]]))
    if (frame.inner_mm - middle_mm) * frame.towards > _DRAWN_OVER_MM:
        return found
    place = _place(hu, frame, axes_mm, model.left if side == LEFT else model.right) & (labels == 0)
    voxel_ml = float(np.prod([abs(axis[1] - axis[0]) for axis in axes_mm if len(axis) > 1])) / 1000
    place = _without_crumbs(np.asarray(binary_opening(place, np.ones((1, 3, 3), bool)), bool), voxel_ml)
    for index in np.flatnonzero(place.any(axis=(1, 2))):
        share = cv2.resize(place[index].astype(np.float32), volume.hu.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
        found[index] = (share > _HALF) & (lungs.labels[index] == 0)
    return found


def _place(hu: Field, frame: PlaceFrame, axes_mm: tuple[npt.NDArray[np.float64], ...], chances: Field) -> Mask:
    """Where the lung belongs, within the ribs and of soft tissue, on the grid."""
    chance = frame.laid(chances, axes_mm)
    likely = chance > LIKELY
    smooth = _averaged(hu, 3)
    soft = (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])
    cortex = np.asarray(binary_dilation(_averaged(hu, 2) > _CORTEX_HU), bool)
    if not likely.any():
        return likely
    centre = [float(np.mean(axis[places])) for axis, places in zip(axes_mm, np.nonzero(likely), strict=True)]
    within, bounded = _within_ribs(hu, axes_mm, centre[1:])
    outwards = (axes_mm[2] - centre[2]) * frame.towards > 0
    return (likely | ((chance > POSSIBLE) & outwards & bounded)) & within & soft & ~cortex


def _within_ribs(hu: Field, axes_mm: tuple[npt.NDArray[np.float64], ...], centre_mm: list[float]) -> tuple[Mask, Mask]:
    """Places no further from a line along the body than the first bone, and those that a bone bounds at all.

    Between two ribs the wall is where the nearer one is: the nearest bone within 12 mm of height counts.
    """
    angles = np.linspace(-np.pi, np.pi, _SECTORS, endpoint=False)
    reach = np.arange(0, _RAY_MM, _RAY_STEP_MM)
    pixel = [float(axis[1] - axis[0]) for axis in axes_mm[1:]]
    rays = [
        (centre + np.outer(along(angles), reach) - axis[0]) / step
        for centre, along, axis, step in zip(centre_mm, (np.sin, np.cos), axes_mm[1:], pixel, strict=True)
    ]
    first = np.full((len(hu), _SECTORS), np.inf, np.float32)
    for index, plane in enumerate(hu):
        bone = map_coordinates(plane, rays, order=0, mode="nearest") > _BONE_HU
        bone[:, reach < _FIRST_BONE_MM] = False
        hit = bone.any(axis=1)
        first[index, hit] = reach[bone.argmax(axis=1)[hit]]
    slice_mm = float(np.median(np.diff(axes_mm[0]))) if len(axes_mm[0]) > 1 else 1.0
    high = 2 * round(_BETWEEN_RIBS_MM / slice_mm) + 1
    first = minimum_filter(first, (high, 5), mode=("nearest", "wrap"))  # pyright: ignore[reportArgumentType] - one an axis
    rows, columns = axes_mm[1][:, None] - centre_mm[0], axes_mm[2][None, :] - centre_mm[1]
    sector = ((np.arctan2(rows, columns) + np.pi) / (2 * np.pi) * _SECTORS).astype(np.int64) % _SECTORS
    wall = first[:, sector]
    return np.hypot(rows, columns)[None] <= wall - 1, np.isfinite(wall)


def _averaged(hu: Field, side: int) -> Field:
    """Each slice averaged over squares of so many pixels."""
    size = (1, side, side)
    return np.asarray(uniform_filter(hu, size), np.float32)  # pyright: ignore[reportArgumentType] - one an axis


def _largest_piece(mask: Mask) -> Mask:
    """What hangs together with most of it; bowel gas that was taken for lung does not."""
    pieces = cc3d.connected_components(mask, connectivity=6)
    voxels = np.bincount(pieces.reshape(-1))
    voxels[0] = 0
    return mask & (pieces == int(voxels.argmax()))


def _without_crumbs(mask: Mask, voxel_ml: float) -> Mask:
    """The pieces of at least 20 mL, and of a tenth of the largest: what lies apart is muscle of the shoulder."""
    pieces = cc3d.connected_components(mask, connectivity=6)
    voxels = np.bincount(pieces.reshape(-1))
    voxels[0] = 0
    return (voxels >= max(_LEAST_ML / voxel_ml, _LEAST_SHARE * voxels.max()))[pieces]
