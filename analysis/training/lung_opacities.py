"""Dense lung for the lung network to learn: haze, patches, whole lobes and lungs, fluid behind them, lost volume."""

from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.float32]

_PATCHY_SHARE, _EXPIRED_SHARE = 0.4, 0.3


class Opacity(StrEnum):
    """How one side of the chest is without air."""

    LOBAR = "lobar"
    DEPENDENT = "dependent"
    FLUID = "fluid"
    WHOLE = "whole"


_KIND_SHARES = {Opacity.LOBAR: 0.3, Opacity.DEPENDENT: 0.2, Opacity.FLUID: 0.2, Opacity.WHOLE: 0.3}

_BOTH_SHARE = 0.2

_COLLAPSE_SHARE = 0.4
_DENSE_HU, _WATER_HU = (5.0, 75.0), (0.0, 25.0)
_TEXTURE_HU, _BRONCHOGRAM_SHARE = 25.0, 0.4
_EDGE = 6.0
_RIM, _RIM_HU = 5.0, -140.0
"""A share of lung is filled this many times as far, and the blur around it where it lies under fat."""

_AIRWAY_HU = -930.0
_SHIFT_MM, _SHIFT_WIDTH_MM, _RISE_MM, _RISE_HEIGHT_MM = 28.0, 70.0, 35.0, 60.0


def with_opacities(hu: Array, right: Array, left: Array, random: np.random.Generator, *, dense: float) -> Array:
    """HU with lung that is denser than it was; what is lung stays lung, fluid in its place included.

    ``dense`` is how often one side is so in part or throughout.
    """
    lung = right + left
    if random.random() < _EXPIRED_SHARE:
        hu = np.asarray(hu + lung * np.float32(random.uniform(20, 250)) * (hu < -500), np.float32)
    if random.random() < _PATCHY_SHARE:
        hu = _with_patches(hu, lung, random)
    if random.random() < dense:
        side, other = (right, left) if random.random() < right.sum() / max(1.0, float(lung.sum())) else (left, right)
        hu = _with_dense_side(hu, side, other, random)
        if random.random() < _BOTH_SHARE:
            hu = _with_dense_side(hu, other, side, random)
    return hu


def _with_dense_side(hu: Array, side: Array, other: Array, random: np.random.Generator) -> Array:
    kind = list(_KIND_SHARES)[int(random.choice(len(_KIND_SHARES), p=list(_KIND_SHARES.values())))]
    return opaque(hu, side, other, kind, random)[0]


def opaque(hu: Array, side: Array, other: Array, kind: Opacity, random: np.random.Generator) -> tuple[Array, Array]:
    """HU with a side that is opaque in this way, and where it is, as a share; large airways stay open."""
    if kind is Opacity.FLUID:
        fluid = _half_space(side, random, backward=2.5, wavy=0.4)
        return laid(hu, side, other, share=fluid, dense=np.float32(random.uniform(*_WATER_HU))), fluid
    share = np.ones_like(side)
    if kind is Opacity.LOBAR:
        share = _half_space(side, random, backward=0.3, wavy=1.5)
    elif kind is Opacity.DEPENDENT:
        share = _half_space(side, random, backward=4.0, wavy=0.8)
    dense = random.uniform(*_DENSE_HU) + random.uniform(0, _TEXTURE_HU) * smooth_field(side.shape, 14, random)
    if random.random() < _BRONCHOGRAM_SHARE:
        airy = smooth_field(side.shape, 20, random) > random.uniform(1.6, 2.4)
        dense = np.where(airy, random.uniform(-500, -100), dense)
    return laid(hu, side, other, share=share, dense=dense.astype(np.float32)), share


def collapse(points: Array, base_mm: float, random: np.random.Generator) -> Array:
    """The displacement, (3, slice, row, column) in mm at points in mm, of a chest whose one lung has lost some volume.

    Heart and mediastinum move to that side, and the diaphragm at ``base_mm`` rises; often nothing is displaced.
    """
    moved = np.zeros_like(points)
    if random.random() >= _COLLAPSE_SHARE:
        return moved
    sign = np.float32(1.0 if random.random() < 0.5 else -1.0)
    height, aside = points[0], points[2]
    own = 1 / (1 + np.exp(-sign * aside / np.float32(15)))
    rise = np.exp(-np.square((height - np.float32(base_mm)) / np.float32(_RISE_HEIGHT_MM)))
    moved[0] = -np.float32(random.uniform(0, _RISE_MM)) * own * rise
    shift = np.exp(-np.square(aside / np.float32(_SHIFT_WIDTH_MM)))
    moved[2] = -sign * np.float32(random.uniform(0, _SHIFT_MM)) * shift
    return moved


def smooth_field(shape: tuple[int, ...], knots: int, random: np.random.Generator) -> Array:
    """A smooth random field of unit spread."""
    coarse = torch.from_numpy(random.normal(0, 1, (1, 1, knots, knots, knots)).astype(np.float32))
    field = functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return (field - field.mean()) / (field.std() + 1e-6)


def laid(hu: Array, side: Array, other: Array, *, share: Array, dense: Array | np.float32) -> Array:
    """Raise a lung to a density where ``share`` of it is 1; what is denser already stays, and so do large airways.

    The blur at its border goes too: a dark rim around painted lung would give its outline away, and real dense lung has
    none.
    """
    wide = functional.max_pool3d(torch.from_numpy(side)[None, None], 3, stride=1, padding=1)[0, 0].numpy()
    rim = np.where(hu < _RIM_HU, wide, side) * (1 - np.clip(other, 0, 1)) * (hu > _AIRWAY_HU)
    filled = np.clip(_RIM * rim, 0, 1) * share
    return np.asarray(hu + filled * (np.maximum(hu, dense) - hu), np.float32)


def _with_patches(hu: Array, lung: Array, random: np.random.Generator) -> Array:
    """Patches of any density between a haze and consolidation, many or few, which keep some of the lung's texture."""
    field = smooth_field(hu.shape, int(random.integers(4, 12)), random)
    patch = 1 / (1 + np.exp(-_EDGE * (field - random.uniform(-0.5, 1.5))))
    dense = random.uniform(*_DENSE_HU) if random.random() < 0.6 else random.uniform(-600, 0)
    raised = np.maximum(hu, np.float32(dense))
    return np.asarray(hu + np.float32(random.uniform(0.7, 1.0)) * lung * patch * (raised - hu), np.float32)


def _half_space(side: Array, random: np.random.Generator, *, backward: float, wavy: float) -> Array:
    """A share of a lung on one side of a wavy plane, soft at the plane; ``backward`` makes it the back more often."""
    places = np.argwhere(side > 0.5)
    if not len(places):
        return np.zeros_like(side)
    normal = random.normal((0, backward, 0), 1, 3)
    normal = (normal / np.linalg.norm(normal)).astype(np.float32)
    levels, rows, columns = np.ogrid[tuple(map(slice, side.shape))]
    height = normal[0] * levels + normal[1] * rows + normal[2] * columns
    height = height + np.float32(wavy) * smooth_field(side.shape, 4, random)
    cut = np.quantile(height[tuple(places.T)], random.uniform(0.05, 0.85))
    return (1 / (1 + np.exp(-2 * (height - cut)))).astype(np.float32)
