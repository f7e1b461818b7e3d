"""Opacities one by one: how many there are, how large the largest is, and which slices show most of them."""

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from analysis.findings import KeySlice
from analysis.series.volume import Volume

MINIMUM_LESION_ML = 0.1
"""A connected opacity smaller than this is measured but not counted: it may be noise."""

KEY_SLICE_COUNT = 5
KEY_SLICE_APART_MM = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Opacities that hang together: how many of at least 0.1 mL, and the largest (mL; 0 where there is none)."""

    count: int
    largest_ml: float


def find_clusters(lesions: npt.NDArray[np.uint8], voxel_volumes_ml: npt.NDArray[np.float64]) -> Clusters:
    """Join lesion voxels of either class over 26 neighbours; ``lesions`` (slice, row, column), volumes (slice,)."""
    box = _box(lesions)
    if box is None:
        return Clusters(count=0, largest_ml=0.0)
    found = np.ascontiguousarray(lesions[box]) > 0
    components = cc3d.connected_components(found, connectivity=26, binary_image=True)
    volumes = np.zeros(int(components.max()) + 1)
    for plane, inside, weight in zip(components, found, voxel_volumes_ml[box[0]], strict=True):
        volumes += weight * np.bincount(plane[inside], minlength=volumes.size)
    return Clusters(count=int(np.count_nonzero(volumes >= MINIMUM_LESION_ML)), largest_ml=float(volumes.max()))


def choose_key_slices(
    volume: Volume,
    ggo_pixels: npt.NDArray[np.int64],
    high_opacity_pixels: npt.NDArray[np.int64],
    *,
    first_slice: int = 0,
) -> tuple[KeySlice, ...]:
    """Choose the slices with most opacity, at least 15 mm apart, most first; none where there is no opacity.

    Pixels are counted by slice, (slice,), from ``first_slice`` of the volume on.
    """
    pixel_mm2 = volume.row_spacing_mm * volume.column_spacing_mm
    ggo, high = ggo_pixels * pixel_mm2, high_opacity_pixels * pixel_mm2
    positions = volume.slice_positions_mm[first_slice : first_slice + len(ggo)]
    chosen: list[int] = []
    for index in np.argsort(-(ggo_pixels + high_opacity_pixels), kind="stable"):
        if ggo[index] + high[index] == 0 or len(chosen) == KEY_SLICE_COUNT:
            break
        if all(abs(positions[index] - positions[other]) >= KEY_SLICE_APART_MM for other in chosen):
            chosen.append(int(index))
    return tuple(
        KeySlice(
            sop_instance_uid=volume.sop_instance_uids[first_slice + index],
            frame_number=volume.frame_numbers[first_slice + index],
            slice_index=first_slice + index,
            position_mm=float(positions[index]),
            ggo_area_mm2=float(ggo[index]),
            high_opacity_area_mm2=float(high[index]),
        )
        for index in chosen
    )


def _box(lesions: npt.NDArray[np.uint8]) -> tuple[slice, slice, slice] | None:
    plane = lesions.max(axis=0) > 0
    if not plane.any():
        return None
    axes = (lesions.max(axis=(1, 2)) > 0, plane.any(axis=1), plane.any(axis=0))
    low, high = zip(*((int(used[0]), int(used[-1]) + 1) for used in map(np.flatnonzero, axes)), strict=True)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
