"""Air inside the body, and which of it is lung."""

from dataclasses import dataclass

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

AIR_HU = -400.0
"""Under this a voxel holds more air than tissue or water would; aerated lung lies under it also in expiration."""
_OUTSIDE_AIR_HU = -920.0
"""Median under which a region at the image's border is room air; lung cut off by the field of view lies above."""
_FINE_MM = 2.5
"""On a grid finer than this, threads and sheets are cut off the body; on a coarser one that would open a thin chest."""
_PADDING_HU = -1012.0
"""At and under this a voxel may not have been imaged at all, as outside a round field of view."""
_INSIDE_HULL_SHARE = 0.9
_GAS_HU = -955.0
"""Lower quartile under which a region inside the body is bare gas (bowel, airway): lung, even emphysema, is mixed."""
_MINIMUM_SHARE = 0.03
_LARGE_SHARE = 0.15
_MINIMUM_ML = 30.0
_ISLAND_ML = 0.5
_ISLAND_DISTANCE_MM = 12.0
_ISLAND_NEAR_SHARE = 0.6
_SAMPLED_VOXELS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The working grid: smoothed HU float32 (slice, row, column) on canonical axes, and its spacing."""

    hu: npt.NDArray[np.float32]
    slice_mm: float
    row_mm: float
    column_mm: float

    @property
    def pixel_mm(self) -> float:
        """Usual in-plane spacing."""
        return (self.row_mm + self.column_mm) / 2

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return self.slice_mm * self.row_mm * self.column_mm / 1000.0


def body_air(grid: Grid) -> tuple[Mask, Mask]:
    """Tell air inside the body, and the filled body, slice by slice; both (slice, row, column).

    The body is the largest piece of tissue in a slice. Air that touches the border of the image is outside, unless it
    is too dense for room air: then it is lung that the field of view cuts off.
    """
    air, body = np.zeros(grid.hu.shape, bool), np.zeros(grid.hu.shape, bool)
    kernel = np.ones((3, 3), np.uint8)
    for index, pixels in enumerate(grid.hu):
        tissue = (pixels >= AIR_HU).astype(np.uint8)
        if grid.pixel_mm <= _FINE_MM:
            tissue = np.asarray(cv2.morphologyEx(tissue, cv2.MORPH_OPEN, kernel), np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(tissue, connectivity=4)
        if count == 1:
            continue
        trunk = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
        filled = fill_holes(trunk)
        inside = (pixels < AIR_HU) & (filled > 0)
        cut_off = _cut_off_lung(pixels, filled)
        air[index] = inside | cut_off
        body[index] = (filled > 0) | cut_off
    return air, body


def fill_holes(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Fill what one slice's mask (row, column; 0 and 1) encloses."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(padded, None, (0, 0), 2)
    return (padded[1:-1, 1:-1] != 2).astype(np.uint8)


def _cut_off_lung(pixels: npt.NDArray[np.float32], filled: npt.NDArray[np.uint8]) -> Mask:
    open_air = ((pixels < AIR_HU) & (pixels > _PADDING_HU) & (filled == 0)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(open_air, connectivity=4)
    kept = np.zeros(pixels.shape, bool)
    large = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= pixels.size // 200]
    dense = [label for label in large if float(np.median(pixels[labels == label])) > _OUTSIDE_AIR_HU]
    if dense:
        hull = np.zeros(pixels.shape, np.uint8)
        contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
        for label in dense:
            region = labels == label
            if float(np.mean(hull[region])) >= _INSIDE_HULL_SHARE:
                kept |= region
    return kept


def keep_lung_components(grid: Grid, air: Mask) -> npt.NDArray[np.uint32]:
    """Label the connected pieces of air that are lung; the rest (bowel gas, what is left of airways) becomes 0.

    Kept are the largest piece, its fellow, and small islands beside them, as aerated remnants in consolidation are.
    """
    components = cc3d.connected_components(air, connectivity=6).astype(np.uint32)
    if not air.any():
        return components
    voxels = np.bincount(components[air])
    candidates = [int(label) for label in np.flatnonzero(voxels * grid.voxel_ml >= _ISLAND_ML)]
    quartiles = _lower_quartiles(grid, components, candidates)
    tissue = [label for label in candidates if quartiles[label] > _GAS_HU]
    if not tissue:
        return np.zeros_like(components)
    largest = max(voxels[label] for label in tissue)
    floor = max(_MINIMUM_SHARE * largest, _MINIMUM_ML / grid.voxel_ml)
    lungs = _main_pieces(components, [label for label in tissue if voxels[label] >= floor], voxels)
    if not lungs:
        return np.zeros_like(components)
    kept = np.zeros(len(voxels), bool)
    kept[lungs] = True
    islands = np.zeros(len(voxels), bool)
    islands[[label for label in tissue if not kept[label]]] = True
    kept |= _beside(grid, components, kept, islands)
    return np.where(kept[components], components, np.uint32(0))


def _lower_quartiles(grid: Grid, components: npt.NDArray[np.uint32], labels: list[int]) -> dict[int, float]:
    """Lower quartile of the HU of every piece of air that may matter, in one sort."""
    rank = np.zeros(int(components.max()) + 1, bool)
    rank[labels] = True
    flat = components.reshape(-1)
    chosen = np.flatnonzero(rank[flat])
    chosen = chosen[:: max(1, chosen.size // _SAMPLED_VOXELS)]
    owner, values = flat[chosen], grid.hu.reshape(-1)[chosen]
    order = np.argsort(owner, kind="stable")
    owner, values = owner[order], values[order]
    starts = np.searchsorted(owner, labels, side="left")
    ends = np.searchsorted(owner, labels, side="right")
    return {
        int(label): float(np.percentile(values[start:end], 25)) if end > start else 0.0
        for label, start, end in zip(labels, starts, ends, strict=True)
    }


def _main_pieces(components: npt.NDArray[np.uint32], candidates: list[int], voxels: npt.NDArray[np.intp]) -> list[int]:
    """Keep the largest piece, the largest one beside it, and every other of 15 % or more of the largest."""
    if not candidates:
        return []
    ordered = sorted(candidates, key=lambda label: -int(voxels[label]))
    first = ordered[0]
    _, _, columns = np.nonzero(components == first)
    low, high = np.percentile(columns, (2, 98))
    chosen = [label for label in ordered if voxels[label] >= _LARGE_SHARE * voxels[first]]
    for label in ordered[1:]:
        middle = float(np.median(np.nonzero(components == label)[2]))
        if not low <= middle <= high:
            chosen.append(label)
            break
    return sorted(set(chosen))


def _beside(grid: Grid, components: npt.NDArray[np.uint32], kept: Mask, islands: Mask) -> Mask:
    """Say which of the islands lie mostly within 12 mm of a lung of the same slice; bowel runs on below the lungs."""
    count = len(islands)
    near, whole = np.zeros(count), np.zeros(count)
    if not islands.any():
        return islands
    candidate = islands[components]
    for index in np.flatnonzero(candidate.any(axis=(1, 2))):
        here = components[index][candidate[index]]
        whole += np.bincount(here, minlength=count)
        lung = kept[components[index]]
        if lung.any():
            distance = cv2.distanceTransform((~lung).astype(np.uint8), cv2.DIST_L2, 3) * grid.pixel_mm
            close = components[index][(distance <= _ISLAND_DISTANCE_MM) & candidate[index]]
            near += np.bincount(close, minlength=count)
    return islands & (near > _ISLAND_NEAR_SHARE * whole)
