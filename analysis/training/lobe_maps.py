"""Label maps of lobes as examples for the network: bent, scaled, turned, cut off and worn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from analysis.anatomy.lobe_network import CLASS_COUNT, GRID_MM, network_inputs
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.series import NativeGrid, Volume
from analysis.training.warping import bend, rotation

FIRST_LABEL = 4
_MARGIN_MM = 6.0
_RIGHT_LOBES = 3
_BEND = 0.8
_CUT_ENDS = ((1, 0), (0, 1), (1, 1))
_LEAST_CUT, _LARGEST_CUT, _LARGEST_CUTS = 0.04, 0.7, 0.75
_WORN_SHARE = 0.25
_CLOSED_SHARE = 0.5
_LEAST_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LobeMap:
    """One patient: ``lobes`` uint8 (slice, row, column), 0 outside, 1 to 5 the lobes; spacing the same on all axes.

    ``shares`` float32 (lobe, slice, row, column) is the same at twice the spacing: which part of a voxel is which lobe.
    """

    name: str
    lobes: NDArray[np.uint8]
    spacing_mm: float
    shares: NDArray[np.float32]
    shares_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LobeExample:
    """What the network sees and should say: inputs (6, slice, row, column), shares of lobes (5, slice, row, column)."""

    inputs: NDArray[np.float32]
    shares: NDArray[np.float32]


def load_maps(folder: Path) -> tuple[LobeMap, ...]:
    """Read every label map of a folder, by name."""
    maps: list[LobeMap] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            labels, spacing = arrays["lobes"], arrays["spacing_mm"]
        maps.append(lobe_map(path.stem, labels, float(spacing[0])))
    return tuple(maps)


def lobe_map(name: str, labels: NDArray[np.uint8], spacing_mm: float) -> LobeMap:
    """One patient's map from labels 4 to 8 (slice, row, column); whatever else is labelled counts as outside."""
    known = (labels >= FIRST_LABEL) & (labels < FIRST_LABEL + CLASS_COUNT)
    lobes = np.where(known, labels - (FIRST_LABEL - 1), 0).astype(np.uint8)
    lobes = np.pad(lobes, [(0, -count % 2) for count in lobes.shape])
    hot = np.stack([lobes == label for label in range(1, CLASS_COUNT + 1)]).astype(np.float32)
    shares = functional.avg_pool3d(torch.from_numpy(hot)[None], 2)[0].numpy()
    return LobeMap(name=name, lobes=lobes, spacing_mm=spacing_mm, shares=shares, shares_mm=2 * spacing_mm)


def scan_of(lobes: NDArray[np.uint8], spacing_mm: float) -> tuple[Volume, Lungs]:
    """The true lungs of labels 1 to 5 (slice, row, column), from feet to head, as a scan without grey values."""
    count = len(lobes)
    volume = Volume(
        hu=np.zeros(lobes.shape, np.int16),
        slice_positions_mm=np.arange(count, dtype=np.float64) * np.float64(spacing_mm),
        slice_weights_mm=np.full(count, spacing_mm),
        row_spacing_mm=spacing_mm,
        column_spacing_mm=spacing_mm,
        sop_instance_uids=("",) * count,
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )
    sides = np.where(lobes > _RIGHT_LOBES, LEFT, RIGHT).astype(np.uint8) * (lobes > 0)
    return volume, Lungs(labels=sides)


def example(map_: LobeMap, stride: int, random: np.random.Generator | None = None) -> LobeExample:
    """One map on the network's grid; with ``random`` bent, scaled, turned, cut off and worn."""
    extent = np.asarray(map_.shares.shape[1:]) * map_.shares_mm
    scale = np.ones(3) if random is None else np.exp(random.normal(0, 0.09, 3))
    turn = np.eye(3) if random is None else rotation(random.normal(0, np.radians(5), 3))
    size_mm = extent * scale + 2 * _MARGIN_MM
    if random is not None:
        size_mm += random.uniform(0, GRID_MM, 3)
    shape = np.ceil(size_mm / GRID_MM).astype(int)
    axes = [((np.arange(count) + 0.5) * GRID_MM - size_mm[axis] / 2) for axis, count in enumerate(shape)]
    points = np.stack(np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij"))
    if random is not None:
        points += _BEND * bend(random, tuple(shape))
    matrix = (turn / scale[:, None] / (extent / 2)[:, None]).astype(np.float32)
    flat = matrix[::-1] @ points.reshape(3, -1)
    where = torch.from_numpy(flat).view(3, *shape).permute(1, 2, 3, 0)
    found = functional.grid_sample(torch.from_numpy(map_.shares)[None], where[None], align_corners=False)[0].numpy()
    shares = np.where(found > _LEAST_SHARE, found, np.float32(0))
    imaged = np.ones(shape[0], bool)
    if random is not None:
        imaged = _cut(random, shares)
        shares[:, ~imaged] = 0
    right, left = shares[:3].sum(axis=0), shares[3:].sum(axis=0)
    if random is not None:
        if random.random() < _CLOSED_SHARE:
            right, left = _closed(right), _closed(left)
        right, left = _worn(random, right), _worn(random, left)
        shares = shares * ((right + left) > 0)
    inputs = network_inputs(right, left, imaged, stride=stride)
    widths = [(0, 0), *((0, wide - side) for wide, side in zip(inputs.shape[1:], shares.shape[1:], strict=True))]
    return LobeExample(inputs=inputs, shares=np.pad(shares, widths))


def _cut(random: np.random.Generator, shares: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Levels that a scan holds: lungs are cut off below, above or at both ends, as the network sees no others."""
    imaged = np.ones(shares.shape[1], bool)
    occupied = np.flatnonzero(shares.sum(axis=(0, 2, 3)) > 0)
    lost = random.uniform(_LEAST_CUT, _LARGEST_CUT, 2) * _CUT_ENDS[random.integers(len(_CUT_ENDS))]
    lost *= min(1.0, _LARGEST_CUTS / float(lost.sum()))
    below, above = (int(share * len(occupied)) for share in lost)
    if lost[0]:
        imaged[: occupied[0] + below] = False
    if lost[1]:
        imaged[occupied[-1] + 1 - above :] = False
    return imaged


def _closed(lung: NDArray[np.float32]) -> NDArray[np.float32]:
    """A lung whose bronchi and vessels are filled, as segmentations fill them and label maps do not."""
    room = functional.pad(torch.from_numpy(lung)[None, None], (2,) * 6)
    closed = -functional.max_pool3d(-functional.max_pool3d(room, 3, stride=1), 3, stride=1)
    return np.maximum(lung, closed[0, 0].numpy())


def _worn(random: np.random.Generator, lung: NDArray[np.float32]) -> NDArray[np.float32]:
    """A lung as segmentations leave it: a bite missing now and then, borders a little off."""
    worn = lung
    if random.random() < _WORN_SHARE:
        places = np.argwhere(lung > 0)
        if len(places):
            middle = places[random.integers(len(places))]
            radius = random.uniform(12.0, 36.0) / GRID_MM
            distance = np.sqrt(
                sum((axis - at) ** 2 for axis, at in zip(np.ogrid[tuple(map(slice, lung.shape))], middle, strict=True))
            )
            worn = worn * np.clip(distance - radius, 0, 1)
    return np.clip(worn * random.uniform(0.9, 1.1) + (worn > 0) * random.uniform(-0.15, 0.15), 0, 1).astype(np.float32)
