"""Scans with manual lungs on an even grid, to train and to judge the lung network on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from analysis.anatomy.air import Grid
from analysis.anatomy.coarse import CoarseGrid
from analysis.anatomy.sides import LEFT, RIGHT, split_sides
from analysis.series.volume import NativeGrid, Volume
from analysis.training.datasets import Source, fold_of
from analysis.training.prepare import read_covid20

CACHE_MM = 2.5
"""Spacing of what examples are drawn from: half of the network's grid, already averaged over that grid's voxels."""

ASSUMED_WIDTH_MM = 270.0
"""covid20 does not tell its spacing: the crop to the lungs is taken for this wide."""
ASSUMED_HEIGHT_MM = 220.0
_SPACING_MM = (1.0, 8.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungScan:
    """A scan as it comes: the volume, manual lungs and lesions bool (slice, row, column), what was imaged at all."""

    name: str
    source: Source
    fold: int
    volume: Volume
    lung: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    known: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungCase:
    """A scan on the even grid of ``CACHE_MM``: float32 (HU and shares of right, left and known; slice, row, column)."""

    name: str
    source: Source
    fold: int
    channels: NDArray[np.float32]


def read_scans(data: Path) -> Iterator[LungScan]:
    """Read every scan of ``lctsc`` and ``covid20`` under a folder, with the folds of the lesion model."""
    for index, path in enumerate(sorted((data / "lctsc").glob("*.npz"))):
        with np.load(path, allow_pickle=False) as stored:
            hu, lung, spacing = stored["hu"], stored["lung"], tuple(float(value) for value in stored["spacing_mm"])
        yield LungScan(
            name=f"lctsc_{path.stem}",
            source=Source.LCTSC,
            fold=fold_of(Source.LCTSC, index, 0),
            volume=_volume(hu, spacing),
            lung=lung,
            lesion=np.zeros_like(lung),
            known=None,
        )
    for index, path in enumerate(sorted((data / "covid20").glob("*.zip"))):
        scan = read_covid20(path)
        count, _, columns = scan.hu.shape
        spacing = (float(np.clip(ASSUMED_HEIGHT_MM / count, *_SPACING_MM)), *2 * (ASSUMED_WIDTH_MM / columns,))
        yield LungScan(
            name=scan.name,
            source=Source.COVID20,
            fold=fold_of(Source.COVID20, index, 0),
            volume=_volume(np.rint(scan.hu).astype(np.int16), spacing),
            lung=scan.lung,
            lesion=scan.label > 0,
            known=scan.known,
        )


def even_case(scan: LungScan) -> LungCase:
    """Bring a scan to the even grid; right and left are told by the side of the body."""
    volume = scan.volume
    grid = Grid(
        hu=volume.hu.astype(np.float32),
        slice_mm=volume.slice_spacing_mm,
        row_mm=volume.row_spacing_mm,
        column_mm=volume.column_spacing_mm,
    )
    pieces = scan.lung.astype(np.uint32)
    sides = split_sides(grid, pieces, np.ones_like(scan.lung))
    known = np.ones_like(scan.lung) if scan.known is None else scan.known
    coarse = CoarseGrid.over(
        volume.slice_positions_mm,
        (volume.hu.shape[1], volume.hu.shape[2]),
        (volume.row_spacing_mm, volume.column_spacing_mm),
        CACHE_MM,
    )
    planes = (grid.hu, sides == RIGHT, sides == LEFT, known)
    stacked = torch.from_numpy(np.stack([coarse.gather(plane.astype(np.float32)) for plane in planes]))
    wide = functional.pad(stacked[None], (0, 1, 0, 1, 0, 1), mode="replicate")
    averaged = functional.avg_pool3d(wide, 2, stride=1)[0].numpy()
    return LungCase(name=scan.name, source=scan.source, fold=scan.fold, channels=averaged)


def _volume(hu: NDArray[np.int16], spacing_mm: tuple[float, ...]) -> Volume:
    count = len(hu)
    return Volume(
        hu=hu,
        slice_positions_mm=np.asarray(np.arange(count) * spacing_mm[0], np.float64),
        slice_weights_mm=np.full(count, spacing_mm[0]),
        row_spacing_mm=spacing_mm[1],
        column_spacing_mm=spacing_mm[2],
        sop_instance_uids=("",) * count,
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )
