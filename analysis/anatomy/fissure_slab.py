"""How much a fissure shows around the border of a lobe: the CT laid out flat along the border, told sheet from tube."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, map_coordinates

from analysis.anatomy.border_surface import Floats, Surface
from analysis.anatomy.sides import Labels
from analysis.series.volume import Volume

HEIGHT_STEP_MM = 1.5
_STEP_MM = 2.0
_BLOCK = 3
_ARM_MM = 3.0
"""A fissure is less than a millimetre thick; blurred by a slice of 2 to 3 mm it is gone at this distance."""
_SIDE_ARM_MM = 6.0
"""Vessels that lie along the border are thinner than this, but for those of the hilum."""
_ARM, _SIDE_ARM = round(_ARM_MM / HEIGHT_STEP_MM), round(_SIDE_ARM_MM / _STEP_MM)
_BLUR = 0.6
_DEVIATION_HU = 150.0
"""What is denser or thinner than the lung by more than this counts as this: vessels, airways, consolidation."""
_LEAST_NOISE_HU = 5.0
_LEAST, _MOST = -1.0, 2.0
_SAMPLED = 7
"""Of how many values one counts for a median."""

Heights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slab:
    """Evidence of a fissure over a border, (u, v, height): 0 as usual in this lung, above 0 where there is a sheet.

    ``u``, ``v`` and ``heights`` are the places in mm; ``known`` says where the lung and the scan reach. Each value is
    the mean of a block of 6 x 6 mm along the border.
    """

    evidence: Heights
    known: npt.NDArray[np.bool_]
    u: Floats
    v: Floats
    heights: Floats


def lay_out(volume: Volume, sides: Labels, side: int, border: Surface, *, reach_mm: float) -> Slab | None:
    """Sample the CT over and under a border and tell how like a sheet along it each place is; None outside the lung.

    ``sides`` (slice, row, column) labels the lungs, ``side`` is the one to look in.
    """
    u, v = (_even(*ends) for ends in border.reach)
    count = round(reach_mm / HEIGHT_STEP_MM)
    heights = np.asarray(np.arange(-count, count + 1) * HEIGHT_STEP_MM, np.float64)
    values, known = _sampled(volume, (sides, side), border, (u, v, heights))
    if not known.any():
        return None
    usual = np.median(values[known][::_SAMPLED])
    values = np.where(known, np.clip(values - usual, -_DEVIATION_HU, _DEVIATION_HU), np.float32(0))
    evidence, known = _sheets(values, known)
    if not known.any():
        return None
    share = _blocks(known.astype(np.float32))
    whole = share >= _BLOCK * _BLOCK / 2
    means = np.where(whole, _blocks(evidence) / np.maximum(share, 1), np.float32(0))
    return Slab(
        evidence=means,
        known=whole,
        u=u.reshape(-1, _BLOCK).mean(axis=1),
        v=v.reshape(-1, _BLOCK).mean(axis=1),
        heights=heights,
    )


def _even(low: float, high: float) -> Floats:
    """Places 2 mm apart from one end to the other, as many as fill whole blocks."""
    count = _BLOCK * max(2, round((high - low) / (_BLOCK * _STEP_MM)))
    return np.asarray((low + high) / 2 + (np.arange(count) - (count - 1) / 2) * _STEP_MM, np.float64)


def _sampled(
    volume: Volume,
    lung: tuple[Labels, int],
    border: Surface,
    grid: tuple[Floats, Floats, Floats],
) -> tuple[Heights, npt.NDArray[np.bool_]]:
    """HU at each place (u, v, height) of the lung, and which those are."""
    u, v, heights = grid
    base = border.heights(u[:, None] + 0 * v, v + 0 * u[:, None])
    spacing = (1.0, volume.row_spacing_mm, volume.column_spacing_mm)
    places = [
        np.asarray((middle + u[:, None] * across + v * along + base * normal) / step, np.float32)[..., None]
        + np.asarray(heights * normal / step, np.float32)
        for middle, across, along, normal, step in zip(
            border.centre, border.across, border.along, border.normal, spacing, strict=True
        )
    ]
    positions = volume.slice_positions_mm
    levels = places[0]
    places[0] = np.interp(levels, positions, np.arange(len(positions))).astype(np.float32)
    known = (levels >= positions[0]) & (levels <= positions[-1])
    nearest = [np.rint(place).astype(np.int32) for place in places]
    for index, size in zip(nearest, lung[0].shape, strict=True):
        known &= (index >= 0) & (index < size)
        np.clip(index, 0, size - 1, out=index)
    known &= lung[0][nearest[0], nearest[1], nearest[2]] == lung[1]
    values = np.zeros(known.shape, np.float32)
    values[known] = map_coordinates(volume.hu, [place[known] for place in places], output=np.float32, order=1)
    return values, known


def _sheets(values: Heights, known: npt.NDArray[np.bool_]) -> tuple[Heights, npt.NDArray[np.bool_]]:
    """Bright against both sides along the normal, less what is bright against its sides along the border: a vessel.

    In units of what is usual in this lung, so that noise and texture weigh alike in every scan. What is evenly dense or
    evenly thin counts as usual, neither for a fissure nor against one.
    """
    extreme = np.abs(values) >= _DEVIATION_HU
    for axis in (0, 1):
        values = np.asarray(gaussian_filter1d(values, _BLUR, axis=axis, mode="nearest"), np.float32)
    ridge = np.zeros_like(values)
    middle, below, above = values[..., _ARM:-_ARM], values[..., : -2 * _ARM], values[..., 2 * _ARM :]
    ridge[..., _ARM:-_ARM] = middle - np.maximum(below, above)
    both = np.zeros_like(known)
    both[..., _ARM:-_ARM] = known[..., _ARM:-_ARM] & known[..., : -2 * _ARM] & known[..., 2 * _ARM :]
    if not both.any():
        return values, both
    sheet = ridge - np.maximum(np.maximum(_over_sides(values, 0), _over_sides(values, 1)), 0)
    noise = max(float(np.median(np.abs(ridge[both][::_SAMPLED]))), _LEAST_NOISE_HU)
    evidence = np.clip(sheet / noise, _LEAST, _MOST)
    telling = both & ~(extreme & (sheet <= 0))
    usual = float(evidence[telling].mean()) if telling.any() else 0.0
    return np.where(telling, evidence - usual, np.float32(0)), both


def _over_sides(values: Heights, axis: int) -> Heights:
    """By how much a value exceeds the mean of those 6 mm to either side along the border; 0 at the ends."""
    found = np.zeros_like(values)
    turned, over = np.moveaxis(values, axis, 0), np.moveaxis(found, axis, 0)
    over[_SIDE_ARM:-_SIDE_ARM] = turned[_SIDE_ARM:-_SIDE_ARM] - (turned[: -2 * _SIDE_ARM] + turned[2 * _SIDE_ARM :]) / 2
    return found


def _blocks(values: Heights) -> Heights:
    """Sums over blocks along the border."""
    across, along, heights = values.shape
    return values.reshape(across // _BLOCK, _BLOCK, along // _BLOCK, _BLOCK, heights).sum(axis=(1, 3))
