"""Opacities of stated volume: ground glass (patchy, peripheral, soft-edged) and consolidation (dependent, subpleural).

A field over the lungs says how likely each voxel is to be diseased; the requested number of voxels with the highest
values becomes the lesion. So the volume is exact to half a voxel, whatever the shape.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicom_node.simulator.geometry import Floats, Grid
from dicom_node.simulator.texture import correlated_noise

GGO_LABEL = 1
HIGH_OPACITY_LABEL = 2
_GGO_HU = -540.0
_CONSOLIDATION_HU = 5.0
_REACH_MM = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """Where the opacities are: labels (0, 1 ground glass, 2 high opacity) and how dense each voxel is with them.

    ``ggo_share`` and ``high_share`` (slice, row, column) run from 0 to 1 and cross one half at the labels' edges.
    """

    labels: np.ndarray
    ggo_share: Floats
    high_share: Floats


class LesionTooLargeError(Exception):
    """More opacity was asked for than the lungs can hold."""


def place_lesions(
    grid: Grid, lung_labels: np.ndarray, *, ggo_ml: float, high_opacity_ml: float, rng: np.random.Generator
) -> Lesions:
    """Place ground glass and consolidation of exactly the given volumes in the lungs.

    Raises:
        LesionTooLargeError: they would fill more than four fifths of the lungs.
    """
    lung = lung_labels > 0
    high_voxels = round(high_opacity_ml / grid.voxel_volume_ml)
    ggo_voxels = round(ggo_ml / grid.voxel_volume_ml)
    room = int(lung.sum())
    if high_voxels + ggo_voxels > 0.8 * room:
        asked, held = ggo_ml + high_opacity_ml, room * grid.voxel_volume_ml
        raise LesionTooLargeError(f"{asked:.0f} mL of opacity were asked for; the lungs hold {held:.0f} mL")
    labels = np.zeros(grid.shape, np.uint8)
    empty = np.zeros(grid.shape, np.float32)
    if not high_voxels + ggo_voxels:
        return Lesions(labels=labels, ggo_share=empty, high_share=empty)
    depth = surface_depth_mm(grid, lung)
    centres = _centres(grid, lung, depth, rng, count=max(6, min(26, int(2 + ggo_ml / 14.0))))
    patchy = 0.55 * correlated_noise(grid, 5.0, rng) + 0.35 * correlated_noise(grid, 2.2, rng)
    high_field, ggo_field = _fields(grid, depth, centres, patchy)
    high_share = np.zeros(grid.shape, np.float32)
    if high_voxels:
        high_share = _select(high_field, lung, high_voxels, 0.14)
        labels[high_share > 0.5] = HIGH_OPACITY_LABEL
    ggo_share = np.zeros(grid.shape, np.float32)
    if ggo_voxels:
        free = lung & (labels == 0)
        ggo_share = _select(ggo_field, free, ggo_voxels, 0.24)
        labels[(ggo_share > 0.5) & free] = GGO_LABEL
    return Lesions(labels=labels, ggo_share=ggo_share, high_share=high_share)


def opacified(tissue: Floats, lesions: Lesions, lung: np.ndarray, grid: Grid, rng: np.random.Generator) -> Floats:
    """Lung tissue with the opacities in it, HU; vessels are drawn over it afterwards, so they stay visible."""
    if not lesions.labels.any():
        return tissue
    uneven = correlated_noise(grid, 3.0, rng)
    glass = _GGO_HU + 45.0 * uneven + 0.35 * (tissue - tissue.mean())
    ggo_share, high_share = (_past_the_pleura(share, lung) for share in (lesions.ggo_share, lesions.high_share))
    dense = _CONSOLIDATION_HU + 14.0 * uneven
    with_glass = tissue + ggo_share * np.maximum(glass - tissue, 0.0)
    return (with_glass + high_share * (dense - with_glass)).astype(np.float32)


def _past_the_pleura(share: Floats, lung: np.ndarray) -> Floats:
    """Shares carried one voxel out of the lung, so that a voxel half in the wall is no thin rim of healthy lung."""
    return np.where(lung, share, ndimage.maximum_filter(share, (1, 3, 3))).astype(np.float32)


def surface_depth_mm(grid: Grid, lung: np.ndarray) -> Floats:
    """Distance from the lung's surface, (slice, row, column); zero outside. Found on every second row and column."""
    slice_mm, row_mm, column_mm = grid.spacing_mm
    coarse = ndimage.distance_transform_edt(lung[:, ::2, ::2], sampling=(slice_mm, 2 * row_mm, 2 * column_mm))
    depth = np.asarray(coarse, np.float32).repeat(2, axis=1).repeat(2, axis=2)
    return depth * lung


def _centres(
    grid: Grid, lung: np.ndarray, depth: Floats, rng: np.random.Generator, *, count: int
) -> list[tuple[float, float, float, float]]:
    """Centres (x, y, z) and radii in millimetres: near the costal pleura, more at the back and in the lower zones."""
    candidates = np.argwhere(lung & (depth > 3.0) & (depth < 16.0))
    x, y, z = grid.x_mm[candidates[:, 2]], grid.y_mm[candidates[:, 1]], grid.z_mm[candidates[:, 0]]
    lateral = np.clip((np.hypot(x / 140.0, y / 95.0) - 0.45) / 0.4, 0.0, 1.0)
    weight = lateral * (0.15 + np.clip((y + 30.0) / 80.0, 0, 1)) * (0.35 + np.clip((190.0 - z) / 120.0, 0, 1))
    weight = weight + 1e-9
    chosen = rng.choice(len(candidates), size=count, p=weight / weight.sum())
    return [(float(x[i]), float(y[i]), float(z[i]), float(rng.uniform(9.0, 24.0))) for i in chosen]


def _fields(
    grid: Grid, depth: Floats, centres: list[tuple[float, float, float, float]], patchy: Floats
) -> tuple[Floats, Floats]:
    """How strongly consolidation and ground glass claim each voxel, (slice, row, column)."""
    x, y, z = grid.x_mm[None, None, :], grid.y_mm[None, :, None], grid.z_mm[:, None, None]
    ggo = np.full(grid.shape, -50.0, np.float32)
    high = np.full(grid.shape, -50.0, np.float32)
    dependent = sorted(range(len(centres)), key=lambda i: -centres[i][1] + 0.35 * centres[i][2])[:3]
    for index, (cx, cy, cz, radius) in enumerate(centres):
        reach = radius + _REACH_MM
        box = grid.box((cx - reach, cy - reach, cz - reach), (cx + reach, cy + reach, cz + reach))
        away = np.sqrt((x[:, :, box[2]] - cx) ** 2 + (y[:, box[1]] - cy) ** 2 + ((z[box[0]] - cz) / 1.25) ** 2)
        np.maximum(ggo[box], (radius - away) / 8.0, out=ggo[box])
        if index in dependent:
            np.maximum(high[box], (0.7 * radius - away) / 7.0, out=high[box])
    near_pleura = np.clip(depth / 20.0, 0.0, 3.0)
    return (high + 0.6 * patchy - 1.1 * near_pleura).astype(np.float32), (ggo + patchy - 0.25 * near_pleura).astype(
        np.float32
    )


def _select(field: Floats, allowed: np.ndarray, count: int, softness: float) -> Floats:
    """Shares that exceed one half in exactly the ``count`` allowed voxels with the highest field."""
    values = field[allowed]
    order = np.argpartition(values, len(values) - count)
    chosen, edge = order[len(values) - count :], float(values[order[len(values) - count]])
    share = 1.0 / (1.0 + np.exp(-np.clip((values - edge) / softness, -30.0, 30.0)))
    above = np.zeros(len(values), bool)
    above[chosen] = True
    share = np.where(above, np.maximum(share, 0.501), np.minimum(share, 0.499))
    result = np.zeros(field.shape, np.float32)
    result[allowed] = share
    return result
