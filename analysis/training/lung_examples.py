"""Examples for the lung network: pieces of scans, bent and turned, with dense lung, noise and thick slices laid in."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from analysis.anatomy.lung_network import GRID_MM, network_inputs
from analysis.training.datasets import Source
from analysis.training.lung_cases import CACHE_MM, LungCase
from analysis.training.warping import bend, rotation

LEVELS, ROWS, COLUMNS = 32, 56, 80
"""Size of an example on the network's grid: 160 x 280 x 400 mm."""

_AIR_HU, _TISSUE_HU, _DENSE_HU, _WATER_HU = -1000.0, 40.0, (10.0, 70.0), (0.0, 20.0)
_FLIP_SHARE, _UPSIDE_DOWN_SHARE, _NARROW_SHARE = 0.5, 0.15, 0.25
_PATCHY_SHARE, _LOBAR_SHARE, _EFFUSION_SHARE, _EXPIRED_SHARE, _THICK_SHARE = 0.45, 0.25, 0.06, 0.3, 0.3
_EDGE = 6.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungExample:
    """``hu``, ``right``, ``left`` (shares) and ``known`` float32, each (slice, row, column) on the network's grid."""

    hu: NDArray[np.float32]
    right: NDArray[np.float32]
    left: NDArray[np.float32]
    known: NDArray[np.float32]

    def tensors(self, stride: int) -> tuple[Tensor, Tensor]:
        """Inputs (1, 2, ...) and targets (1, 4, ...): shares of neither, right and left, and what is known."""
        inputs = torch.from_numpy(network_inputs(self.hu, stride))[None]
        neither = np.clip(1 - self.right - self.left, 0, 1)
        return inputs, torch.from_numpy(np.stack([neither, self.right, self.left, self.known]))[None]


def example(case: LungCase, random: np.random.Generator) -> LungExample:
    """A random piece of a case."""
    hu, right, left, known = _piece(case, random)
    outside = known < 0.5
    hu = np.where(outside, np.float32(_TISSUE_HU if random.random() < 0.8 else _AIR_HU), hu)
    if random.random() < _FLIP_SHARE:
        # a mirrored chest has its heart on the right; what is called right stays on the image's left
        hu, right, left, known = (np.ascontiguousarray(item[:, :, ::-1]) for item in (hu, left, right, known))
    if random.random() < _UPSIDE_DOWN_SHARE:
        hu, right, left, known = (np.ascontiguousarray(item[::-1]) for item in (hu, right, left, known))
    lung = right + left
    if random.random() < _EXPIRED_SHARE:
        hu = hu + lung * np.float32(random.uniform(20, 250)) * (hu < -500)
    if random.random() < _PATCHY_SHARE:
        hu = _with_patches(hu, lung, random)
    if random.random() < _LOBAR_SHARE:
        side = right if random.random() < right.sum() / max(1.0, lung.sum()) else left
        hu = _laid(hu, side * _half_space(side, random, backward=0.3), random.uniform(*_DENSE_HU), 0.9)
    if random.random() < _EFFUSION_SHARE:
        side = right if random.random() < right.sum() / max(1.0, lung.sum()) else left
        fluid = _half_space(side, random, backward=1.5)
        hu = _laid(hu, side * fluid, random.uniform(*_WATER_HU), 1.0)
        right, left = (item * (1 - fluid) if item is side else item for item in (right, left))
    if random.random() < _NARROW_SHARE:
        hu, right, left = _narrowed(hu, right, left, random)
    return LungExample(hu=_imaged(hu, random), right=right, left=left, known=known)


def _piece(case: LungCase, random: np.random.Generator) -> NDArray[np.float32]:
    """HU and shares (4, slice, row, column) around a random place near the lungs, scaled, turned and bent."""
    lung = case.channels[1] + case.channels[2]
    spread = 0.10 if case.source is Source.LCTSC else 0.16
    scale = np.exp(random.normal(0, spread)) * np.exp(random.normal(0, 0.06, 3))
    turn = rotation(random.normal(0, np.radians((9.0, 5.0, 5.0)), 3))
    levels = np.flatnonzero(lung.any(axis=(1, 2)))
    reach = LEVELS * GRID_MM / CACHE_MM / 4
    low, high = max(0.0, levels[0] - reach), min(len(lung) - 1.0, levels[-1] + reach)
    plane = lung.max(axis=0)
    middles = [float(np.mean(np.flatnonzero(plane.any(axis=1 - axis))[[0, -1]])) for axis in range(2)]
    centre = np.asarray([random.uniform(low, high), *middles]) + random.normal(0, (0, 6, 6), 3)
    shape = (LEVELS, ROWS, COLUMNS)
    axes = [((np.arange(count) - (count - 1) / 2) * GRID_MM).astype(np.float32) for count in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij")) + bend(random, shape)
    matrix = (turn / scale[:, None] / CACHE_MM).astype(np.float32)
    voxels = matrix @ points.reshape(3, -1) + centre[:, None].astype(np.float32)
    sizes = np.asarray(lung.shape, np.float32)[:, None]
    where = torch.from_numpy(np.ascontiguousarray(((voxels + 0.5) / sizes * 2 - 1)[::-1]))
    where = where.view(3, *shape).permute(1, 2, 3, 0)[None]
    return functional.grid_sample(torch.from_numpy(case.channels)[None], where, align_corners=False)[0].numpy()


def _field(shape: tuple[int, ...], knots: int, random: np.random.Generator) -> NDArray[np.float32]:
    """A smooth random field of unit spread."""
    coarse = torch.from_numpy(random.normal(0, 1, (1, 1, knots, knots, knots)).astype(np.float32))
    field = functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return (field - field.mean()) / (field.std() + 1e-6)


def _with_patches(
    hu: NDArray[np.float32], lung: NDArray[np.float32], random: np.random.Generator
) -> NDArray[np.float32]:
    """Patches of any density between a haze and consolidation, many or few, which keep some of the lung's texture."""
    field = _field(hu.shape, int(random.integers(4, 12)), random)
    patch = 1 / (1 + np.exp(-_EDGE * (field - random.uniform(-0.5, 1.5))))
    dense = random.uniform(*_DENSE_HU) if random.random() < 0.6 else random.uniform(-600, 0)
    return _laid(hu, np.asarray(lung * patch, np.float32), dense, random.uniform(0.7, 1.0))


def _half_space(side: NDArray[np.float32], random: np.random.Generator, *, backward: float) -> NDArray[np.float32]:
    """A share of a lung on one side of a wavy plane, soft at the plane; ``backward`` makes it the back more often."""
    places = np.argwhere(side > 0.5)
    if not len(places):
        return np.zeros_like(side)
    normal = random.normal((0, backward, 0), 1, 3)
    normal = (normal / np.linalg.norm(normal)).astype(np.float32)
    levels, rows, columns = np.ogrid[tuple(map(slice, side.shape))]
    height = normal[0] * levels + normal[1] * rows + normal[2] * columns + 1.5 * _field(side.shape, 4, random)
    cut = np.quantile(height[tuple(places.T)], random.uniform(0.1, 0.85))
    return (1 / (1 + np.exp(-2 * (height - cut)))).astype(np.float32)


def _laid(hu: NDArray[np.float32], share: NDArray[np.float32], dense: float, hold: float) -> NDArray[np.float32]:
    """Raise HU towards a density where the share is 1; what is denser already stays."""
    raised = np.maximum(hu, np.float32(dense))
    return np.asarray(hu + hold * share * (raised - hu), np.float32)


def _narrowed(
    hu: NDArray[np.float32], right: NDArray[np.float32], left: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A field of view that ends within the chest: a disc, outside of which is padding and nothing is labelled."""
    _, rows, columns = hu.shape
    middle = np.asarray([rows, columns]) / 2 + random.normal(0, 5, 2)
    radius = random.uniform(95, 170) / GRID_MM
    distance = np.hypot(*(axis - at for axis, at in zip(np.ogrid[:rows, :columns], middle, strict=True)))
    inside = (distance <= radius)[None]
    fill = np.float32(random.choice((-1024.0, -1000.0, 0.0)))
    return np.where(inside, hu, fill), right * inside, left * inside


def _imaged(hu: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Thick slices, noise of any grain, and a scale that is a little off."""
    image = hu
    if random.random() < _THICK_SHARE:
        blurred = (np.concatenate([image[:1], image[:-1]]) + image + np.concatenate([image[1:], image[-1:]])) / 3
        image = image + np.float32(random.uniform(0.3, 1.0)) * (blurred - image)
    noise = random.normal(0, abs(random.normal(0, 35)), hu.shape).astype(np.float32)
    if random.random() < 0.5:
        noise = 2 * functional.avg_pool3d(torch.from_numpy(noise)[None, None], 3, stride=1, padding=1)[0, 0].numpy()
    return (image * np.float32(random.normal(1, 0.02)) + np.float32(random.normal(0, 15)) + noise).astype(np.float32)
