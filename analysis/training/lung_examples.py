"""Examples for the networks of lungs and cavities: pieces of scans, bent, with dense lung, noise and thick slices."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from analysis.anatomy import cavity_network, lung_network
from analysis.training.datasets import Source
from analysis.training.lung_cases import CACHE_MM, LungCase
from analysis.training.lung_opacities import collapse, with_opacities
from analysis.training.warping import bend, rotation

_AIR_HU, _TISSUE_HU = -1000.0, 40.0
_NARROW_SHARE, _THICK_SHARE = 0.25, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What an example is: its grid, its size on it (slice, row, column), and how often it is altered.

    ``dense`` is how often one side of the chest is dense in part or throughout, ``flipped`` how often right and left
    are exchanged, ``upside_down`` how often head and feet.
    """

    grid_mm: float
    shape: tuple[int, int, int]
    dense: float
    flipped: float
    upside_down: float


LUNG_FRAME = Frame(grid_mm=lung_network.GRID_MM, shape=(32, 48, 72), dense=0.52, flipped=0.5, upside_down=0.15)
CAVITY_FRAME = Frame(grid_mm=cavity_network.GRID_MM, shape=(24, 32, 40), dense=0.8, flipped=0.1, upside_down=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungExample:
    """``hu``, ``right``, ``left`` (shares) and ``known`` float32, each (slice, row, column) on the frame's grid."""

    hu: NDArray[np.float32]
    right: NDArray[np.float32]
    left: NDArray[np.float32]
    known: NDArray[np.float32]

    @property
    def targets(self) -> Tensor:
        """Shares of neither, right and left, and what is known (1, 4, ...)."""
        neither = np.clip(1 - self.right - self.left, 0, 1)
        return torch.from_numpy(np.stack([neither, self.right, self.left, self.known]))[None]


def example(case: LungCase, random: np.random.Generator, frame: Frame = LUNG_FRAME) -> LungExample:
    """A random piece of a case."""
    hu, right, left, known = _piece(case, random, frame)
    outside = known < 0.5
    hu = np.where(outside, np.float32(_TISSUE_HU if random.random() < 0.8 else _AIR_HU), hu)
    if random.random() < frame.flipped:
        # a mirrored chest has its heart on the right; what is called right stays on the image's left
        hu, right, left, known = (np.ascontiguousarray(item[:, :, ::-1]) for item in (hu, left, right, known))
    if random.random() < frame.upside_down:
        hu, right, left, known = (np.ascontiguousarray(item[::-1]) for item in (hu, right, left, known))
    hu = with_opacities(hu, right, left, random, dense=frame.dense)
    if random.random() < _NARROW_SHARE:
        hu, right, left = _narrowed(hu, right, left, random, frame.grid_mm)
    return LungExample(hu=_imaged(hu, random), right=right, left=left, known=known)


def _piece(case: LungCase, random: np.random.Generator, frame: Frame) -> NDArray[np.float32]:
    """HU and shares (4, slice, row, column) around a random place near the lungs, scaled, turned and bent."""
    lung = case.channels[1] + case.channels[2]
    spread = 0.10 if case.source is Source.LCTSC else 0.16
    scale = np.exp(random.normal(0, spread)) * np.exp(random.normal(0, 0.06, 3))
    turn = rotation(random.normal(0, np.radians((9.0, 5.0, 5.0)), 3))
    levels = np.flatnonzero(lung.any(axis=(1, 2)))
    reach = frame.shape[0] * frame.grid_mm / CACHE_MM / 4
    low, high = max(0.0, levels[0] - reach), min(len(lung) - 1.0, levels[-1] + reach)
    plane = lung.max(axis=0)
    middles = [float(np.mean(np.flatnonzero(plane.any(axis=1 - axis))[[0, -1]])) for axis in range(2)]
    centre = np.asarray([random.uniform(low, high), *middles]) + random.normal(0, (0, 6, 6), 3)
    axes = [((np.arange(count) - (count - 1) / 2) * frame.grid_mm).astype(np.float32) for count in frame.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij")) + bend(random, frame.shape)
    points = points + collapse(points, float(levels[0] - centre[0]) * CACHE_MM, random)
    matrix = (turn / scale[:, None] / CACHE_MM).astype(np.float32)
    voxels = matrix @ points.reshape(3, -1) + centre[:, None].astype(np.float32)
    sizes = np.asarray(lung.shape, np.float32)[:, None]
    where = torch.from_numpy(np.ascontiguousarray(((voxels + 0.5) / sizes * 2 - 1)[::-1]))
    where = where.view(3, *frame.shape).permute(1, 2, 3, 0)[None]
    return functional.grid_sample(torch.from_numpy(case.channels)[None], where, align_corners=False)[0].numpy()


def _narrowed(
    hu: NDArray[np.float32],
    right: NDArray[np.float32],
    left: NDArray[np.float32],
    random: np.random.Generator,
    grid_mm: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A field of view that ends within the chest: a disc, outside of which is padding and nothing is labelled."""
    _, rows, columns = hu.shape
    middle = np.asarray([rows, columns]) / 2 + random.normal(0, 25 / grid_mm, 2)
    radius = random.uniform(95, 170) / grid_mm
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
